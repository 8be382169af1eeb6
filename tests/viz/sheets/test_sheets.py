"""Contact sheets: layout, typography, cells and pages."""

from __future__ import annotations

import io
import itertools
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from PIL.PdfParser import PdfParser

from pipeline.errors import DamagedFile, RenderError, SourceError, StoreError, UsageError
from pipeline.images.decode import decode
from pipeline.images.preprocess import Box, Preprocess
from pipeline.query.index import open_index
from pipeline.store.schemas import NAMES
from pipeline.store.tables import write_table
from tests.fixtures import golden_sheets
from tests.fixtures.commands import done, refused, run
from tests.fixtures.renders import rendered
from tests.fixtures.small_index import FINGERPRINT, build_index
from viz.inputs.top_images import choose_images
from viz.paths.likeness import UNUSUAL
from viz.render.field import rendered_field
from viz.render.table import Rendered, load_renders, merge_renders
from viz.sheets import cells
from viz.sheets.cells import gather_cells, open_rendering
from viz.sheets.content import Cell, PageText, Tile
from viz.sheets.draw import draw_page
from viz.sheets.layout import TILES, Rect, lay_out_page, units_on_page
from viz.sheets.pages import draw_sheets
from viz.sheets.patches import crop_patch, open_shown
from viz.sheets.typography import (
    REPLACEMENT,
    drawable,
    fit_text,
    font,
    readable_label,
    readable_number,
    wrap_text,
)

pytestmark = pytest.mark.slow

SOURCES = {
    0: ({"label": ["disc", "square"], "words": ["blue", "red"], "linear": ["green"]}, "disc + square, blue"),
    1: ({"label": ["disc", "square"], "words": ["disc"]}, "disc + square"),
    2: ({"masks": ["sky", "sea"], "words": ["sky"]}, "sky"),
    3: ({"concepts": ["wet", "dark"], "masks": ["sea"], "words": ["red"]}, "wet + dark, sea, red"),
    4: ({"words": ["red", "blue"]}, "red"),
}
"""Names of units by their sources, and what a sheet shows of them."""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_index(tmp_path_factory.mktemp("small"))


@pytest.fixture
def copy(out: Path, tmp_path: Path) -> Path:
    return shutil.copytree(out, tmp_path / "index")


@pytest.mark.parametrize("name", golden_sheets.PICTURES)
def test_golden_picture(name: str) -> None:
    """Tolerance: a mean difference of 1 in 255, and 1 % of the pixels off by more than 32."""
    picture, path = golden_sheets.draw(name), golden_sheets.FOLDER / f"{name}.png"
    if os.environ.get("MAXACT_GOLDEN") == "write":
        picture.save(path, optimize=True)
    drawn = np.asarray(picture).astype(int)
    kept = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert drawn.shape == kept.shape
    difference = np.abs(drawn - kept)
    assert difference.mean() <= 1, "inspect the picture that `make golden` writes, then commit it"
    assert (difference.max(axis=2) > 32).mean() <= 0.01


@pytest.mark.parametrize("count", [1, 2, 3, 4, 12, 24, 25])
def test_nothing_on_a_page_overlaps(count: int) -> None:
    page = lay_out_page(count)
    assert len(page.cells) == count
    blocks = [page.header, page.footer, *(cell.whole for cell in page.cells)]
    for a, b in itertools.combinations(blocks, 2):
        assert not _overlap(a, b)
    for block in blocks:
        assert _inside(block, Rect(0, 0, page.width, page.height))
    for cell in page.cells:
        parts = [cell.title, cell.synthetic, cell.plot, *cell.tiles, *cell.captions]
        assert len(cell.tiles) == len(cell.captions) == TILES
        for a, b in itertools.combinations(parts, 2):
            assert not _overlap(a, b)
        for part in parts:
            assert _inside(part, cell.whole)
        assert cell.synthetic.width == cell.synthetic.height


def _overlap(a: Rect, b: Rect) -> bool:
    return a.left < b.right and b.left < a.right and a.top < b.bottom and b.top < a.bottom


def _inside(a: Rect, b: Rect) -> bool:
    return b.left <= a.left and b.top <= a.top and a.right <= b.right and a.bottom <= b.bottom


def test_a_page_is_2400_pixels_wide_and_text_is_legible_at_half_size() -> None:
    assert lay_out_page(24).width == 2400
    assert font("Medium", 19).getlength("x") > 8


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("n01484850_great_white_shark", "great white shark"),
        ("tabby, tabby cat", "tabby"),
        ("n02123045 tabby", "tabby"),
        ("checks", "checks"),
        ("n123", "n123"),
        ("_", "_"),
    ],
)
def test_labels_are_readable(label: str, shown: str) -> None:
    assert readable_label(label) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.00"),
        (6.918, "6.92"),
        (12.35, "12.3"),
        (1234.5, "1,234"),
        (0.0123, "0.012"),
        (-3.0, "\N{MINUS SIGN}3.00"),
    ],
)
def test_numbers_are_readable(value: float, shown: str) -> None:
    assert readable_number(value) == shown


def test_text_is_shortened_or_omitted() -> None:
    face = font("Regular", 20)
    for width in range(0, 300, 7):
        assert face.getlength(fit_text("a rather long label", face, width)) <= width
        for line in wrap_text("several words of a footer", face, width, 2):
            assert face.getlength(line) <= width
    assert fit_text("short", face, 400) == "short"
    assert fit_text("long", face, 12) == ""


def test_cells_show_the_content_of_the_index(out: Path) -> None:
    with open_index(out) as index:
        layer = index.layer("blocks.1")
        cells = gather_cells(index, layer, [3, 0, 11], {})
        top = index.top("blocks.1", 0, n=16)
        heads = gather_cells(index, index.layer("head"), [3], {})
    rings, disc, dead = cells
    assert (rings.title, rings.subtitle) == ("unit 3", "rings 8/9")
    assert (disc.title, disc.subtitle) == ("unit 0", "disc + round shape")
    assert disc.best == top[0].activation == disc.tiles[0].activation
    assert len(disc.tiles) == 9
    assert [tile.activation for tile in disc.tiles] != [image.activation for image in top[:9]]
    assert sum(bucket[2] for bucket in rings.histogram) == 48
    assert (dead.subtitle, dead.tiles) == ("dead: constant 0 on all images", ())
    assert dead.note == ""
    assert (heads[0].title, heads[0].subtitle) == ("rings", "unit 3")


def test_sheets_are_divided_into_pages(copy: Path) -> None:
    with open_index(copy) as index:
        files = draw_sheets(index, layers="blocks.1", units=range(12), page_units=5, pdf=True)
    assert [file.name for file in files] == [
        "blocks.1-real-0000-0004.png",
        "blocks.1-real-0005-0009.png",
        "blocks.1-real-0010-0011.png",
        "blocks.1-real-0000-0011.pdf",
    ]
    with Image.open(files[0]) as page:
        assert page.size == (lay_out_page(5).width, lay_out_page(5).height)
        assert page.text["Title"] == "blocks.1 shapes"  # type: ignore[attr-defined]
    with PdfParser(str(files[-1])) as document:
        assert len(document.pages) == 3
    assert sorted(path.name for path in (copy / "sheets").iterdir()) == sorted(file.name for file in files)


def _rendered(unit: int, **changes: object) -> Rendered:
    return rendered(1.8, unit=unit, **{"p999": 4.0, "file": "renders/a.png"} | changes)


def _add_renders(out: Path, rows: list[Rendered]) -> None:
    (out / "renders").mkdir(exist_ok=True)
    picture = Image.new("RGB", (60, 50), (0, 0, 255))
    picture.paste((255, 0, 0), (10, 5, 50, 45))
    picture.save(out / "renders" / "a.png")
    merge_renders(out, rows)


def test_a_rendering_is_cropped_to_the_receptive_field(copy: Path) -> None:
    _add_renders(copy, [_rendered(1), _rendered(2, status="grey"), _rendered(2, facet=1)])
    with open_index(copy) as index:
        rows = {1: [_rendered(1, path=UNUSUAL)], 2: [_rendered(2, status="grey")]}
        rows[3] = [_rendered(3, status="grey"), _rendered(3, facet=1, activation=2.0)]
        rows[5] = [_rendered(5, status="weak", path=UNUSUAL - 0.01)]
        whole = gather_cells(index, index.layer("blocks.1"), [1, 2, 3, 4, 5], rows)
    one, grey, two, none, weak = (cell.synthetic for cell in whole)
    assert one is not None
    assert one.pictures[0].size == (40, 40)
    assert one.pictures[0].getcolors() == [(1600, (255, 0, 0))]
    assert (one.activation, one.mark) == (9.0, "")
    assert grey is not None
    assert grey.mark == "failed: grey"
    assert two is not None
    assert (len(two.pictures), two.activation, two.mark) == (2, 2.0, "")
    assert none is None
    assert weak is not None
    assert weak.mark == "weak, unusual path"


def test_real_patches_have_the_size_of_the_canvas(copy: Path) -> None:
    with open_index(copy) as index:
        layer = index.layer("blocks.1")
    small = _rendered(1, box_right=14.0, box_bottom=9.0)
    seen = rendered_field(layer, [small])
    assert 4 <= seen.rf_h <= 5 < layer.rf_h
    assert seen.box(2, 2).top + seen.box(2, 2).bottom == layer.box(2, 2).top + layer.box(2, 2).bottom
    assert rendered_field(layer, [replace(small, objective="point@0,0")]) == layer
    assert rendered_field(layer, []) == layer


def test_the_default_recipe_is_the_one_with_the_most_units(copy: Path) -> None:
    _add_renders(copy, [_rendered(u, recipe="octaves") for u in (0, 1)] + [_rendered(2)])
    with open_index(copy) as index:
        assert "octaves" in draw_sheets(index, layers="blocks.1", units=range(4))[0].name
        assert "fourier" in draw_sheets(index, layers="blocks.1", units=range(4), recipe="fourier")[0].name
        with pytest.raises(RenderError, match="'forier'; did you mean 'fourier'"):
            draw_sheets(index, layers="blocks.1", units=range(4), recipe="forier")
        with pytest.raises(RenderError, match="none of these units of stem has a rendering"):
            draw_sheets(index, layers="stem", units=range(4), recipe="fourier")


def test_a_recipe_file_stands_for_the_name_in_it(copy: Path, tmp_path: Path) -> None:
    _add_renders(copy, [_rendered(0), replace(_rendered(0), recipe="calm")])
    file = tmp_path / "any.toml"
    file.write_text('base = "fourier"\nname = "calm"\nsteps = 9\n')
    where = ("sheets", copy, "--layer", "blocks.1", "--units", "0")
    assert done(*where, "--recipe", file).stdout.endswith("blocks.1-calm-0000-0000.png\n")
    file.write_text('base = "fourier"\nname = "wild"\n')
    said = refused(run(*where, "--recipe", file), 2)
    assert "has a rendering of recipe 'wild'; available: calm, fourier; or run `maxact render" in said
    assert said.endswith(f"--recipe {file}`")
    before = sorted(copy.rglob("*"))
    for text, message in (
        ("steps = 9", "base must be one of"),
        ("= 3", "cannot be read"),
        (None, "cannot be read"),
    ):
        file.unlink() if text is None else file.write_text(text)
        for more in ((), ("--with", copy)):
            assert message in refused(run(*where, "--recipe", file, *more), 2)
    assert sorted(copy.rglob("*")) == before


def test_a_missing_rendering_is_reported(copy: Path) -> None:
    _add_renders(copy, [_rendered(0)])
    (copy / "renders" / "a.png").unlink()
    with open_index(copy) as index, pytest.raises(StoreError, match=r"a\.png cannot be read"):
        draw_sheets(index, layers="blocks.1", units=[0])


def test_a_changed_rendering_is_not_drawn(copy: Path) -> None:
    _add_renders(copy, [replace(_rendered(0), sha256="0" * 64)])
    with open_index(copy) as index, pytest.raises(DamagedFile, match=r"a\.png was changed after it was rend"):
        draw_sheets(index, layers="blocks.1", units=[0])


def test_a_moved_dataset_is_reported(tmp_path: Path) -> None:
    out = build_index(tmp_path)
    (tmp_path / "photographs").rename(tmp_path / "elsewhere")
    with open_index(out) as index, pytest.raises(SourceError, match="photographs"):
        draw_sheets(index, layers="stem", units=[0])


def test_a_changed_image_is_reported(tmp_path: Path) -> None:
    out = build_index(tmp_path)
    with open_index(out) as index:
        key = index.top("stem", 0, n=1)[0].key
        file = tmp_path / "photographs" / key
        file.write_bytes(b"\x00" * file.stat().st_size)
        with pytest.raises(StoreError, match=f"{key}' of shard .*the dataset has changed since"):
            draw_sheets(index, layers="stem", units=[0])


@pytest.mark.parametrize("page_units", [0, 121])
def test_the_number_of_units_on_a_page_is_limited(copy: Path, page_units: int) -> None:
    with open_index(copy) as index, pytest.raises(UsageError, match="a page holds 1 to 120"):
        draw_sheets(index, layers="stem", units=[0], page_units=page_units)


def test_extreme_values_can_be_drawn() -> None:
    tile = Tile(Image.new("RGB", (4, 4)), "", -1e30)
    cells = [
        Cell("", "", "", (tile,), best, None, histogram)
        for best in (0.0, -3.0, 1e-30, 1e30)
        for histogram in ((), ((0.0, 0.0, 5),), ((-1e20, 1e20, 3),))
    ]
    page = draw_page(cells, PageText("", "", (), "", ""))
    assert page.width == 2400


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("great white shark", "great white shark"),
        ("Größe λ Ж", "Größe λ Ж"),
        ("a\x1bb\u202ec\u200bd\ne", "a?b?c?d?e"),
        ("漢字 😀", "?? ?"),
        ("\U0010fffd\ue000", "??"),
    ],
)
def test_characters_that_cannot_be_drawn_become_squares(text: str, drawn: str) -> None:
    face = font("Regular", 20)
    assert drawable(text, face) == drawn.replace("?", REPLACEMENT)
    assert fit_text(text, face, 1000) == drawn.replace("?", REPLACEMENT)


def _add_facets(out: Path) -> list[int]:
    """Three renderings of unit 1 of blocks.1, each from every third of its top images; their image_ids."""
    with open_index(out) as index:
        images = [image.image_id for image in index.top("blocks.1", 1, n=9)]
    rows = []
    for facet in range(3):
        file = out / "renders" / "blocks.1" / f"{facet}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (50 * facet, 90, 90)).save(file)
        size = {"width": 40, "height": 40, "box_left": 0, "box_top": 0, "box_right": 40, "box_bottom": 40}
        given = {"unit": 1, "facet": facet, "recipe": "facets", "images": tuple(images[facet::3])}
        rows.append(rendered(2.0, file=file.relative_to(out).as_posix(), **given, **size))
    merge_renders(out, rows)
    return images


def test_letters_say_which_images_a_facet_was_made_from(copy: Path) -> None:
    images = _add_facets(copy)
    with open_index(copy) as index:
        layer = index.layer("blocks.1")
        renders = {1: [row for row in load_renders(copy) if row.unit == 1]}
        (cell,) = gather_cells(index, layer, [1], renders)
        letters = [tile.facets for tile in cell.tiles]
        assert sum(map(bool, letters)) >= 6
        # Copies of a photograph are not shown, so that the tiles are not quite the first nine images.
        of_image = {image: "abc"[place % 3] for place, image in enumerate(images)}
        shown = choose_images(index.top("blocks.1", 1, n=16), 9)
        assert letters == [of_image.get(image.image_id, "") for image in shown]
        same = [replace(row, images=tuple(images)) for row in renders[1]]
        (plain,) = gather_cells(index, layer, [1], {1: same})
        assert {tile.facets for tile in plain.tiles} == {""}


def test_letters_are_drawn_on_both(copy: Path) -> None:
    _add_facets(copy)
    with open_index(copy) as index:
        renders = {1: [row for row in load_renders(copy) if row.unit == 1]}
        (cell,) = gather_cells(index, index.layer("blocks.1"), [1], renders)
    text = PageText("layer", "network", (), "legend", "maxact")
    with_letters = np.asarray(draw_page((cell,), text)).astype(int)
    tiles = tuple(replace(tile, facets="") for tile in cell.tiles)
    without = np.asarray(draw_page((replace(cell, tiles=tiles),), text)).astype(int)
    changed = np.argwhere(np.abs(with_letters - without).sum(2) > 0)
    place = lay_out_page(1).cells[0]
    assert any(place.synthetic.left <= x < place.synthetic.right for _, x in changed)
    assert any(place.tiles[0].left <= x for _, x in changed)


@pytest.mark.parametrize(("paper", "width", "height"), [("a4", 210, 297), ("letter", 215.9, 279.4)])
def test_pages_for_print_have_the_shape_of_the_paper(
    copy: Path, paper: Any, width: float, height: float
) -> None:
    with open_index(copy) as index:
        page, pdf = draw_sheets(index, layers="blocks.1", paper=paper, pdf=True)
        with Image.open(page) as picture:
            assert picture.height / picture.width == pytest.approx(height / width, abs=1e-3)
        parser = PdfParser(str(pdf))
        box = parser.read_indirect(parser.pages[0])[b"MediaBox"]
        left, top, right, bottom = (float(edge) for edge in box)
        parser.close()
        assert (right - left) / 72 * 25.4 == pytest.approx(width, abs=0.2)
        assert (bottom - top) / 72 * 25.4 == pytest.approx(height, abs=0.2)
        with pytest.raises(UsageError, match=f"a page of {paper} holds 1 to 12 units, got 13"):
            draw_sheets(index, layers="blocks.1", paper=paper, page_units=13)
        wrong: Any = "a5"
        with pytest.raises(UsageError, match="the paper must be a4 or letter, got 'a5'"):
            draw_sheets(index, layers="blocks.1", paper=wrong)


def test_units_on_a_page_fit_it_and_one_row_more_does_not() -> None:
    for proportion in (1.0, 1.29, 1.414, 2.0):
        held = units_on_page(proportion)
        assert lay_out_page(held, proportion=proportion).height == round(2400 * proportion)
        assert lay_out_page(held + 1, proportion=proportion).height > round(2400 * proportion)


def test_a_grey_network_is_shown_what_it_saw() -> None:
    """28 x 28 grey pixels, not the colours and the detail of the photograph."""
    stream = io.BytesIO()
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (120, 160, 3), dtype=np.uint8))
    picture.save(stream, "PNG")
    grey = Preprocess(28, 28, 32, channels="grey", mean=(0.0,), std=(1.0,))
    shown, preprocess = open_shown(stream.getvalue(), grey)
    pixels = np.asarray(shown)
    assert pixels.shape == (28, 28, 3)
    assert (pixels == pixels[:, :, :1]).all()
    assert (pixels[:, :, 0] == decode(stream.getvalue(), grey)[0].numpy()).all()
    whole = crop_patch(shown, Box(0, 0, 28, 28), preprocess, 28)
    assert (np.asarray(whole) == pixels).all()
    colour, same = open_shown(
        stream.getvalue(), replace(grey, channels="rgb", mean=(0.0,) * 3, std=(1.0,) * 3)
    )
    assert colour.size == (160, 120)
    assert same.fit == "crop"


def test_a_cell_has_the_names_of_every_source(tmp_path: Path) -> None:
    out = build_index(tmp_path)
    rows = [
        {"layer": "stem", "unit": unit, "rank": rank, "concept": concept, "source": source, "held_out": 0.5}
        for unit, (sources, _) in SOURCES.items()
        for rank, (source, concept) in enumerate(
            ((source, concept) for source, concepts in sources.items() for concept in concepts), start=1
        )
    ]
    footer = {"maxact.fingerprint": FINGERPRINT}
    write_table(
        out / "names.parquet", NAMES, [pa.Table.from_pylist(rows, NAMES)], metadata=footer, sealed=True
    )
    with open_index(out) as index:
        cells = gather_cells(index, index.layer("stem"), list(SOURCES), {})
    assert [cell.subtitle for cell in cells] == [shown for _, shown in SOURCES.values()]


def test_a_rendering_that_is_not_square_is_padded_evenly(copy: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(stream, "PNG")
    (copy / "renders").mkdir(exist_ok=True)
    whole = {"box_left": 0.0, "box_top": 0.0, "box_right": 20.0, "box_bottom": 10.0}
    for name, box in (("a", whole), ("b", {**whole, "box_right": 0.0})):
        row = rendered(1.0, file=f"renders/{name}.png", **box)
        (copy / row.file).write_bytes(stream.getvalue())
        square = np.asarray(open_rendering(copy, row))
        assert square.shape == (20, 20, 3)
        red = (square == (255, 0, 0)).all(2)
        assert red[5:15].all()
        assert not red[:5].any()
        assert not red[15:].any()


def test_a_rendering_that_is_no_picture_is_named(copy: Path) -> None:
    (copy / "renders").mkdir(exist_ok=True)
    row = rendered(1.0, file="renders/a.png")
    (copy / row.file).write_bytes(b"no picture")
    with pytest.raises(StoreError, match=r"a\.png cannot be read: .*; run the same `maxact render` again"):
        open_rendering(copy, row)


@pytest.mark.parametrize(
    ("share", "shown"), [(0.0, "0 %"), (0.0004, "under 0.1 %"), (0.0123, "1.2 %"), (0.5, "50 %")]
)
def test_shares_are_readable(share: float, shown: str) -> None:
    assert cells._format_percent(share) == shown
