"""Pages and pictures of the server are those that `maxact atlas` writes, and nothing else can be reached."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from pipeline.progress import Silent
from pipeline.query.index import open_index
from pipeline.query.matching import find_matches
from tests.fixtures.renders import rendered
from tests.fixtures.small_index import build_index, build_photographs
from tests.fixtures.tables import edit_run
from tests.fixtures.tiny import tiny_network
from tests.viz.atlas.conftest import HOSTILE, LAYER
from tests.viz.server.conftest import client_of
from viz.atlas.addresses import label_page
from viz.atlas.build import build_atlas
from viz.render.table import merge_renders
from viz.server.guard import Access
from viz.server.live_atlas import LiveOptions
from viz.server.run import open_served
from viz.server.served import ServedIndexes


@pytest.fixture(scope="module")
def built(tiny_out: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the static atlas of the first index."""
    copy = tmp_path_factory.mktemp("static") / "index"
    shutil.copytree(tiny_out, copy)
    with open_index(copy) as index:
        return build_atlas(index, network=tiny_network()).page.parent


def files(folder: Path, pattern: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob(pattern))


@pytest.mark.parametrize(
    "pattern", ["pictures/*/*.webp", "maps/*/*.png", "photographs/*.webp", "data/?.js", "*.css", "atlas.js"]
)
def test_files_are_those_of_the_static_atlas(visitor: TestClient, built: Path, pattern: str) -> None:
    names = files(built, pattern)
    assert names
    different = [name for name in names if visitor.get(f"/0/{name}").content != (built / name).read_bytes()]
    assert different == []


def main_of(text: str) -> str:
    """The content of a page, without the folder of the index and what only a server has."""
    content = text.partition('<main id="content">')[2].partition("</main>")[0]
    content = re.sub(r'<section id="render".*?</section>\n', "", content, flags=re.DOTALL)
    content = re.sub(r'<section aria-labelledby="h-others">.*?</section>\n', "", content, flags=re.DOTALL)
    content = re.sub(r' data-regions?="[^"]*"', "", content)
    return re.sub(r"(maxact [\w -]+ )'[^']+'|'[^']+' (?=\w+ layer)", r"\1OUT", html.unescape(content))


@pytest.mark.parametrize("pattern", ["layer/*.html", "unit/*/*.html", "index.html", "sql.html"])
def test_pages_are_those_of_the_static_atlas(visitor: TestClient, built: Path, pattern: str) -> None:
    for name in files(built, pattern):
        expected = main_of((built / name).read_text(encoding="utf-8"))
        assert main_of(visitor.get(f"/0/{name}").text) == expected, name


def test_the_outlines_of_what_drives_a_unit_are_those_of_the_static_atlas(
    visitor: TestClient, built: Path
) -> None:
    outlined = 0
    for name in files(built, "unit/1/*.html"):
        patches = (built / name).read_text(encoding="utf-8").partition('<ol class="strip">')[0]
        tags = re.findall(r"<a [^>]*data-spot[^>]*>", patches)
        expected = [found[1] if (found := re.search(r'data-region="([^"]*)"', tag)) else "" for tag in tags]
        address = re.search(r'data-regions="\.\./\.\./([^"]+)"', visitor.get(f"/0/{name}").text)
        assert address
        assert visitor.get(f"/0/{address[1]}").json() == expected
        outlined += sum(map(bool, expected))
    assert outlined


def test_every_link_of_every_kind_of_page_leads_somewhere(owner: TestClient) -> None:
    waiting, seen = ["/", "/0/index.html", "/1/index.html"], set()
    kinds: dict[str, int] = {}
    while waiting:
        path = waiting.pop()
        kind = re.sub(r"[0-9a-f]+(?=\.)|\d+", "N", path)
        if path in seen or kinds.get(kind, 0) >= 6:
            continue
        seen.add(path)
        kinds[kind] = kinds.get(kind, 0) + 1
        answer = owner.get(path)
        assert answer.status_code == 200, path
        if "html" not in answer.headers["content-type"]:
            continue
        base = answer.url
        for link in re.findall(r'(?:href|src|data-script|data-maps)="([^"#]+)', answer.text):
            target = base.join(html.unescape(link))
            if target.scheme == "http":
                assert target.host == "127.0.0.1", link
                waiting.append(target.path + (f"?{target.query.decode()}" if target.query else ""))
    assert {"/N/unit/N/N.html", "/N/image/N.html", "/N/label/N.html", "/N/photographs/N.webp"} <= set(kinds)


def test_the_search_knows_all_units_and_labels(visitor: TestClient, served: ServedIndexes) -> None:
    text = visitor.get("/1/data/search.js").text
    assert text.startswith("atlasSearch(")
    assert text.count('"units"') == len(served.atlases[1].contents.layers)
    assert label_page("CON") in text


def test_hostile_names_are_text(visitor: TestClient) -> None:
    for label in HOSTILE:
        text = visitor.get(f"/1/{label_page(label)}").text
        assert "<h1>" in text
        assert "<script>" not in text
        assert "<img src=x" not in text
        assert "<b>shapes" not in text
    page = visitor.get("/1/layer/1.html").text
    assert html.escape(LAYER) in page
    assert LAYER not in page
    assert "<b>shapes" not in visitor.get("/").text


@pytest.mark.parametrize(
    "path",
    [
        "/0/run.json",
        "/0/../run.json",
        "/0/%2e%2e/run.json",
        "/0/..%2f..%2fetc/passwd",
        "/0/photographs/..%2f0.webp",
        "/0/photographs/zz.webp",
        "/0/photographs/ffffffffffffff.webp",
        "/0/photographs/" + "f" * 300 + ".webp",
        "/0/image/-1.html",
        "/0/label/../../x.html",
        "/0/label/00.html",
        "/0/unit/0/99.html",
        "/0/unit/9/0.html",
        "/0/unit/0/999999999999999999999999.html",
        "/0/pictures/0/0-99.webp",
        "/0/pictures/0/99.webp",
        "/0/pictures/0/0-projections.webp",
        "/0/maps/9/0.png",
        "/0/parts",
        "/0/parts/",
        "/0/renders/",
        "/0/pictures/",
        "/7/index.html",
        "/99999999999999999999999999/index.html",
        "/nothing",
        "/0//etc/passwd",
        "/0//evil.example/",
        "/0/a%00b",
        "/1/maps/0/0.png",
    ],
)
def test_nothing_else_can_be_reached(visitor: TestClient, path: str) -> None:
    answer = visitor.get(path, follow_redirects=False)
    assert answer.status_code in (400, 404)
    assert "root:" not in answer.text
    assert "fingerprint" not in answer.text


def test_what_is_not_there_is_said_on_a_page(visitor: TestClient) -> None:
    answer = visitor.get("/0/unit/0/99.html", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "the layer has 5 units, numbered from 0" in answer.text
    assert 'href="../../atlas.css"' in answer.text
    assert visitor.get("/0/unit/0/99.html").text == "the layer has 5 units, numbered from 0\n"


def test_a_browser_asks_for_the_same_only_once(visitor: TestClient) -> None:
    for path in ("/0/unit/0/1.html", "/0/pictures/0/1.webp", "/0/atlas.css"):
        first = visitor.get(path)
        again = visitor.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_the_indexes_are_listed(visitor: TestClient, served: ServedIndexes) -> None:
    text = visitor.get("/").text
    for atlas in served.atlases:
        assert f'href="{atlas.number}/index.html"' in text
        assert str(atlas.index.out) in text
    assert visitor.get("/0/", follow_redirects=False).headers["location"] == "index.html"


def test_an_index_of_somebody_else_is_served_without_its_dataset(tmp_path: Path) -> None:
    out = build_index(tmp_path)
    edit_run(out, lambda run: run.pop("signature"))
    access = Access.of("127.0.0.1", 8765)
    with (
        open_served([out], access, LiveOptions(), reporter=Silent()) as served,
        client_of(served) as client,
    ):
        page = client.get("/0/layer/1.html")
        assert page.status_code == 200
        assert "Photographs cannot be shown" in page.text
        picture = client.get("/0/pictures/1/3.webp")
        assert picture.status_code == 503
        assert "dataset" in picture.text
        assert "No image activates" not in client.get("/0/unit/1/3.html").text


def test_a_rendering_of_another_process_is_shown(tmp_path: Path) -> None:
    out = build_index(tmp_path)
    access = Access.of("127.0.0.1", 8765)
    options = LiveOptions(maps=False)
    with (
        open_served([out], access, options, reporter=Silent()) as served,
        client_of(served) as client,
    ):
        assert "Not rendered yet" in client.get("/0/unit/1/3.html").text
        before = client.get("/0/pictures/1/3.webp").content
        (out / "renders").mkdir()
        Image.new("RGB", (60, 50), (20, 90, 120)).save(out / "renders/3.png")
        merge_renders(out, [rendered(1.5, layer="blocks.1", unit=3, file="renders/3.png", recipe="fourier")])
        assert "Not rendered yet" not in client.get("/0/unit/1/3.html").text
        assert client.get("/0/pictures/1/3.webp").content != before
        assert "<dt>Rendered</dt><dd>1</dd>" in client.get("/0/index.html").text


def test_an_index_that_was_made_anew_is_not_mixed_with_the_old_one(tmp_path: Path) -> None:
    out = build_index(tmp_path)
    access = Access.of("127.0.0.1", 8765)
    options = LiveOptions(maps=False)
    with (
        open_served([out], access, options, reporter=Silent()) as served,
        client_of(served) as client,
    ):
        edit_run(out, lambda run: run.update(timings={"seconds": 1}))  # says the same
        assert client.get("/0/index.html").status_code == 200
        edit_run(out, lambda run: run.update(fingerprint="1" * 64))
        answer = client.get("/0/index.html")
        assert answer.status_code == 503
        assert "made anew" in answer.text
        assert client.get("/0/pictures/0/1.webp").status_code == 503


def test_the_nearest_units_of_other_indexes_are_those_of_a_comparison(tmp_path: Path) -> None:
    data = build_photographs(tmp_path / "photographs")
    outs = []
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        outs.append(build_index(tmp_path / str(seed), seed=seed, data=data))
    access = Access.of("127.0.0.1", 8765)
    options = LiveOptions(maps=False)
    with (
        open_served(outs, access, options, reporter=Silent()) as served,
        client_of(served) as client,
        open_index(outs[0]) as index,
        open_index(outs[1]) as other,
    ):
        matches = find_matches(index, other, {layer.name: range(layer.units) for layer in index.layers})
        for layer in index.layers:
            for unit in range(layer.units):
                text = client.get(f"/0/unit/{layer.ordinal}/{unit}.html").text
                found = re.findall(r'/\.\./1/unit/(\d+)/(\d+)\.html".*?(\d+) shared images', text)
                match = matches.get((layer.name, unit))
                expected = match and (
                    str(other.layer(match.layer).ordinal),
                    str(match.unit),
                    str(match.shared),
                )
                assert found == ([expected] if match else [])
        assert client.get("/0/unit/1/3.html").text.count('src="../../../1/pictures/') == 1


def test_nothing_is_written_into_an_index(visitor: TestClient, tiny_out: Path) -> None:
    def listing() -> list[tuple[str, int]]:
        return sorted((str(path), path.stat().st_mtime_ns) for path in tiny_out.rglob("*"))

    before = listing()
    for path in ("index.html", "unit/0/1.html", "pictures/0/2.webp", "maps/0/2.png", "photographs/1.webp"):
        assert visitor.get(f"/0/{path}").status_code == 200
    assert listing() == before
