"""The static site: every link leads somewhere, builds resume, hostile text stays text."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.check.files import check_files
from pipeline.config import RunConfig
from pipeline.errors import LayerError, StoreError, UsageError
from pipeline.layers.layer import Layer
from pipeline.progress import Silent
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from pipeline.store.atlas_record import atlas_files
from pipeline.store.derived import remove_derived
from pipeline.store.schemas import IMAGES
from pipeline.store.tables import read_table, write_table
from tests.fixtures.convnets import convnet
from tests.fixtures.renders import rendered
from tests.fixtures.small_index import FINGERPRINT, build_index
from tests.fixtures.tiny import write_tars
from tests.viz.server.conftest import client_of
from viz.atlas.build import build_atlas
from viz.atlas.files import AtlasFiles
from viz.atlas.pictures import CARD, CARD_TILES, PITCH, TILE
from viz.render.table import merge_renders
from viz.server.guard import Access
from viz.server.live_atlas import LiveOptions
from viz.server.run import open_served
from viz.sheets.pages import save_page
from viz.sheets.patches import crop_patch, seen_window

pytestmark = pytest.mark.slow

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "../../../etc/passwd",
    "a" * 300,
    "\u202egnp.exe",
    "CON",
    "con",
    "nul\x01byte",
    "</title><b>",
    "{{ 7 * 7 }}",
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_index(tmp_path_factory.mktemp("small"))


@pytest.fixture
def out(small: Path, tmp_path: Path) -> Path:
    return shutil.copytree(small, tmp_path / "index")


@pytest.fixture(scope="module")
def built(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = shutil.copytree(small, tmp_path_factory.mktemp("built") / "index")
    _add_rendering(out, "blocks.1", 3)
    build(out)
    return out / "atlas"


def build(out: Path, **options):
    with open_index(out) as index:
        return build_atlas(index, maps=False, **options)


def _add_rendering(out: Path, layer: str, unit: int, **changes: object) -> None:
    row = rendered(1.5, layer=layer, unit=unit, **changes)
    (out / row.file).parent.mkdir(exist_ok=True)
    Image.new("RGB", (60, 50), (200, 40, 10)).save(out / row.file)
    merge_renders(out, [row])


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.links += [value for name, value in attrs if name in ("href", "src", "data-script") and value]

    def handle_data(self, data: str) -> None:
        self.text += data


def pages(atlas: Path) -> Iterator[tuple[Path, _Page]]:
    for path in sorted(atlas.rglob("*.html")):
        yield path, _Page(path.read_text(encoding="utf-8"))


def contents(atlas: Path) -> dict[str, bytes]:
    return {str(p.relative_to(atlas)): p.read_bytes() for p in sorted(atlas.rglob("*")) if p.is_file()}


def test_every_link_leads_to_a_file_of_the_atlas(built: Path) -> None:
    linked = set()
    for path, page in pages(built):
        for link in page.links:
            if link.startswith(("#", "data:")):
                continue
            target = (path.parent / unquote(link.partition("#")[0])).resolve()
            assert target.is_file(), f"{path.relative_to(built)} links to {link}"
            assert target.is_relative_to(built.resolve())
            linked.add(target)
    everything = {p.resolve() for p in built.rglob("*.html")}
    assert everything - linked <= {(built / "index.html").resolve()}


def test_nothing_is_requested_from_elsewhere(built: Path) -> None:
    for path in (*built.rglob("*.html"), *built.rglob("*.css"), *built.rglob("*.js")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", text), path


def test_there_is_a_page_for_every_layer_unit_image_and_label(built: Path) -> None:
    index = read_table(built.parent / "layers.parquet").to_pylist()
    for row in index:
        assert (built / f"layer/{row['ordinal']}.html").is_file()
        for unit in range(row["units"]):
            assert (built / f"unit/{row['ordinal']}/{unit}.html").is_file()
    labels = set(read_table(built.parent / "images.parquet")["label"].to_pylist())
    assert len(list((built / "label").glob("*.html"))) == len(labels)


def test_a_card_has_the_rendering_and_the_patches_in_order(built: Path) -> None:
    out = built.parent
    with open_index(out) as index:
        layer = index.layer("blocks.1")
        first = index.top("blocks.1", 3, n=1)[0]
        photograph = Image.open(io.BytesIO(index.image_bytes(first.image_id))).convert("RGB")
        patch = crop_patch(
            photograph, seen_window(layer, first.y, first.x, index.preprocess), index.preprocess, TILE
        )
    card = np.asarray(Image.open(built / f"pictures/{layer.ordinal}/3.webp").convert("RGB")).astype(int)
    assert card.shape == (CARD[1], CARD[0], 3)
    assert np.abs(card[PITCH, PITCH] - (200, 40, 10)).max() <= 6
    drawn = card[1 : 1 + TILE, CARD[1] + 1 : CARD[1] + 1 + TILE]
    assert np.abs(drawn - np.asarray(patch).astype(int)).mean() < 8


def test_the_style_sheet_shows_each_tile_of_a_card() -> None:
    text = (resources.files("viz.atlas") / "static/atlas.css").read_text(encoding="utf-8")

    def percent(value: float, whole: float) -> str:
        return f"{value / whole * 100:.4f}".rstrip("0").rstrip(".") + "%"

    width, height = CARD
    assert f"width: {percent(width, TILE)}; max-width: none; height: {percent(height, TILE)};" in text
    for number in range(CARD_TILES):
        row, column = divmod(number, 3)
        left, top = height + column * PITCH + 1, row * PITCH + 1
        rule = f".t{number} img {{ translate: -{percent(left, width)} -{percent(top, height)}; }}"
        assert rule in text
    side = height - 2
    assert f".whole-tile img {{ width: {percent(width, side)}; height: {percent(height, side)};" in text


def test_the_data_of_a_layer_has_a_row_for_each_unit(built: Path) -> None:
    text = (built / "data/1.js").read_text(encoding="ascii")
    assert text.startswith("atlas(")
    data = json.loads(text.removeprefix("atlas(").removesuffix(")\n"))
    assert data["layer"] == "blocks.1"
    assert data["columns"]["unit"] == list(range(12))
    assert data["columns"]["ratio"][3] == 1.5
    units = read_table(built.parent / "units.parquet").to_pylist()
    expected = [row["max"] for row in units if row["layer"] == "blocks.1"]
    assert data["columns"]["max"] == pytest.approx(expected, rel=1e-4)


def test_a_second_build_writes_nothing(out: Path) -> None:
    first = build(out)
    assert first.drawn == first.units == 24
    before = {
        p: p.stat().st_mtime_ns for p in (out / "atlas").rglob("*") if p.is_file() and p.name != ".files"
    }
    second = build(out)
    assert second.drawn == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert second.size == first.size


def test_only_a_unit_that_was_rendered_since_is_drawn_again(out: Path) -> None:
    build(out)
    _add_rendering(out, "blocks.1", 5)
    assert build(out).drawn == 1


class Interrupted(Exception):
    pass


def test_an_interrupted_build_goes_on_where_it_stopped(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = shutil.copytree(out, tmp_path / "other" / "index")
    build(undisturbed, layers="blocks.1")
    write, count = AtlasFiles.write, 0

    def failing(self: AtlasFiles, name: str, key: str, data: bytes) -> None:
        nonlocal count
        count += 1
        if count == 40:
            raise Interrupted
        write(self, name, key, data)

    monkeypatch.setattr(AtlasFiles, "write", failing)
    with pytest.raises(Interrupted):
        build(out, layers="blocks.1")
    monkeypatch.undo()
    (out / "atlas" / ".files").write_bytes((out / "atlas" / ".files").read_bytes()[:-7])
    assert build(out, layers="blocks.1").drawn < 12
    ours, theirs = contents(out / "atlas"), contents(undisturbed / "atlas")
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {".files"}:
        # Pages name the folder of the index in their commands.
        assert ours[name].replace(bytes(out), b"OUT") == theirs[name].replace(bytes(undisturbed), b"OUT"), (
            name
        )


def test_a_file_that_was_cut_off_is_written_again(out: Path) -> None:
    build(out, layers="blocks.1")
    card = out / "atlas/pictures/1/0.webp"
    whole = card.read_bytes()
    card.write_bytes(whole[: len(whole) // 2])
    assert build(out, layers="blocks.1").drawn == 1
    assert card.read_bytes() == whole


def test_pages_that_are_no_longer_part_are_removed_and_files_of_the_user_stay(out: Path) -> None:
    build(out)
    (out / "atlas" / "notes.txt").write_text("mine")
    summary = build(out, layers="blocks.1", units="0-3")
    assert (summary.layers, summary.units) == (1, 4)
    assert sorted(p.name for p in (out / "atlas/unit").rglob("*.html")) == [
        "0.html",
        "1.html",
        "2.html",
        "3.html",
    ]
    assert (out / "atlas" / "notes.txt").read_text() == "mine"


def test_a_record_that_names_files_elsewhere_removes_nothing(out: Path) -> None:
    victim = out / "victim.txt"
    victim.write_text("here")
    (out / "atlas").mkdir()
    (out / "atlas/.files").write_text(f"{'0' * 32} 4 ../victim.txt\n{'0' * 32} 4 /tmp/x\n")
    build(out, layers="head")
    assert victim.read_text() == "here"


def test_clean_and_fresh_remove_the_atlas_of_another_index(out: Path) -> None:
    build(out, layers="head")
    count = len(atlas_files(out)) - 1  # without the record
    (out / "atlas" / "notes.txt").write_text("mine")
    with open_index(out) as index:
        assert remove_derived(out, keep=index.run["fingerprint"]) == 0
    assert check_files(out).foreign == ("atlas/notes.txt",)
    assert remove_derived(out, keep="f" * 64) == count
    assert contents(out / "atlas") == {"notes.txt": b"mine"}


def test_names_are_shown_and_found(out: Path) -> None:
    name = "<b>round</b>"
    with open_index(out) as index:
        index._connection.execute(
            f"""CREATE OR REPLACE VIEW names AS SELECT 'head' AS layer, 2 AS unit, 1 AS rank,
            '{name}' AS concept, 'labels' AS source, 0.62 AS correlation, 0.58 AS held_out, 16 AS images,
            1.0 AS weight"""
        )
        build_atlas(index, maps=False, layers="head")
    named = {path.name: page.text for path, page in pages(out / "atlas") if name in page.text}
    assert named.keys() == {"2.html"}  # of the layer, whose ordinal is 2, and of the unit
    assert "0.58" in (out / "atlas/unit/2/2.html").read_text()
    assert name in (out / "atlas/data/2.js").read_text()
    assert name in (out / "atlas/data/search.js").read_text()


def test_projections_of_this_index_are_shown(out: Path) -> None:
    folder = out / "projections/head"
    folder.mkdir(parents=True)
    for unit, fingerprint in ((0, FINGERPRINT), (1, "f" * 64)):
        page = Image.new("RGB", (3000, 600), (9, 90, 9))
        save_page(page, folder / f"{unit:05}.png", "head", fingerprint)
    (folder / "00002.png").write_bytes(b"no picture")
    (folder / "00003.png").symlink_to(folder / "00000.png")
    build(out, layers="head")
    with Image.open(out / "atlas/pictures/2/0-projections.webp") as picture:
        assert picture.size == (2000, 400)
    shown = [path.name for path, page in pages(out / "atlas") if "Which parts" in page.text]
    assert shown == ["0.html", "3.html"]
    (folder / "00000.png").unlink()
    (folder / "00003.png").unlink()
    build(out, layers="head")
    assert not list((out / "atlas").rglob("*-projections.webp"))


def test_hostile_text_stays_text_and_never_becomes_a_path(out: Path) -> None:
    table = read_table(out / "images.parquet").to_pylist()
    for number, row in enumerate(table):
        row["label"] = HOSTILE[number % len(HOSTILE)]
    write_table(out / "images.parquet", IMAGES, [pa.Table.from_pylist(table, schema=IMAGES)])
    build(out)
    names = [p.name for p in (out / "atlas/label").iterdir()]
    assert len(names) >= len(HOSTILE)
    assert all(re.fullmatch(r"[0-9a-f]{16}\.html", name) for name in names)
    for path, page in pages(out / "atlas"):
        scripts = [attributes.get("src") for tag, attributes in page.tags if tag == "script"]
        assert len(scripts) == 1, path
        assert scripts[0] is not None
        assert scripts[0].endswith("atlas.js")
        assert not any("onerror" in attributes for _, attributes in page.tags)
        assert "49" not in {word for word in page.text.split() if word == "49"} or "{{" not in page.text


def test_masks_are_clear_at_the_peak(tmp_path: Path) -> None:
    network = convnet()
    tars = write_tars(tmp_path / "data", [12])
    config = RunConfig(
        data=(str(tars[0]),),
        out=tmp_path / "out",
        network="convnet",
        layers=("late", "head"),
        top=4,
        compile="off",
    )
    run_index(config, network=network)
    with open_index(tmp_path / "out") as index:
        build_atlas(index, network=network)
        layer = index.layer("late")
        for unit in range(layer.units):
            peaks = {image.image_id: image for image in index.top("late", unit, n=4)}
            shown = re.findall(
                r'href="../../image/(\w+).html"[^>]*><span class="tile', page(tmp_path, layer, unit)
            )
            picture = Image.open(tmp_path / f"out/atlas/maps/{layer.ordinal}/{unit}.png")
            alpha = np.asarray(picture)[1:-1, :, 1]
            assert alpha.shape == (layer.grid_h, len(shown) * (layer.grid_w + 2))
            for number, image_id in enumerate(shown):
                mask = alpha[:, number * (layer.grid_w + 2) + 1 :][:, : layer.grid_w]
                peak = peaks[int(image_id, 16)]
                assert mask[peak.y, peak.x] == mask.min() == 0


def page(folder: Path, layer: Layer, unit: int) -> str:
    return (folder / f"out/atlas/unit/{layer.ordinal}/{unit}.html").read_text()


def test_wrong_options(out: Path) -> None:
    with pytest.raises(UsageError, match="quality"):
        build(out, quality=0)
    with pytest.raises(UsageError, match="32 pixels"):
        build(out, max_side=3)
    with pytest.raises(LayerError, match="nothing"):
        build(out, layers="nothing")
    assert not (out / "atlas").exists()


def test_a_file_in_the_place_of_the_folder(out: Path) -> None:
    (out / "atlas").write_text("")
    with pytest.raises(StoreError, match="atlas"):
        build(out)


def test_every_rendering_of_a_unit_is_shown(out: Path) -> None:
    """A card shows the first; further ones, such as facets, are pictures of their own."""
    colours = [(200, 40, 10), (10, 40, 200), (10, 200, 40)]
    for facet, colour in enumerate(colours):
        row = rendered(1.5, layer="blocks.1", unit=3, facet=facet, images=(facet,))
        (out / row.file).parent.mkdir(exist_ok=True)
        Image.new("RGB", (60, 50), colour).save(out / row.file)
        merge_renders(out, [row])
    build(out)
    shown = sorted((out / "atlas").glob("pictures/1/3-[0-9].webp"))
    assert [path.name for path in shown] == ["3-1.webp", "3-2.webp"]
    for path, colour in zip(shown, colours[1:], strict=True):
        with Image.open(path) as picture:
            assert np.abs(np.asarray(picture.convert("RGB"))[20, 20].astype(int) - colour).max() < 12
    page = (out / "atlas/unit/1/3.html").read_text()
    assert all(f"3-{number}.webp" in page for number in (1, 2))
    access = Access.of("127.0.0.1", 8765)
    with (
        open_served([out], access, LiveOptions(maps=False), reporter=Silent()) as served,
        client_of(served) as client,
    ):
        for path in shown:
            assert client.get(f"/0/pictures/1/{path.name}").content == path.read_bytes()
        assert client.get("/0/pictures/1/3-7.webp").status_code == 404
