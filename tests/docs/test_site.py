"""The documentation site: built strictly from the documents, with nothing from other hosts."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from docs.site.blocks import ROOT, asked_in_documents, commands_of
from docs.site.records import Drawn, Picture, Record, write_record
from docs.site.stage import stage
from tests.fixtures.browser import open_browser, why_not

RESOURCE = re.compile(r"""<(?:script|img|link|iframe|source)\b[^>]*?\b(?:src|href)=["']?(https?:|//)[^>]*>""")
"""What a page loads from another host. Links that a reader follows are not among them."""

pytestmark = [pytest.mark.slow, pytest.mark.thorough]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, with plain pictures in the place of the figures."""
    folder = tmp_path_factory.mktemp("site")
    pictures = folder / "pictures"
    pictures.mkdir()
    Image.new("RGB", (8, 6), "teal").save(pictures / "plain.webp")
    for asked in asked_in_documents():
        shown = (Picture("plain.webp", 8, 6, unit=3, ratio=1.25, status="ok"),)
        drawn = (Drawn(tuple(words), 2.0, "printed <b>", shown) for words in commands_of(asked.block))
        write_record(pictures, asked.name, Record("key", tuple(drawn)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAXACT_DOCS_PICTURES", str(pictures))
        stage(folder / "source")
    return folder / "source"


def test_figures_and_outputs_are_in_the_pages(source: Path) -> None:
    tutorial = (source / "docs/tutorial.md").read_text()
    assert "<!-- figure" not in tutorial
    assert "<!-- output" not in tutorial
    assert '<img src="pictures/plain.webp"' in tutorial
    assert "unit 3, 1.25" in tutorial
    assert "```text\nprinted <b>\n```" in tutorial
    assert '<img src="../pictures/plain.webp"' in (source / "docs/gallery/typical.md").read_text()


def test_every_command_and_public_name_has_an_entry(source: Path) -> None:
    helps = (source / "docs/command-line-help.md").read_text()
    assert {"## maxact index", "## maxact prior train", "## maxact serve"} <= {*helps.splitlines()}
    assert "--shard-range" in helps
    names = (source / "docs/python.md").read_text()
    assert {"## open_index", "## Index", "### Index.top", "## run_index"} <= {*names.splitlines()}
    assert "The images with the highest (or lowest) peaks of one unit" in names


def test_a_figure_that_was_not_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAXACT_DOCS_PICTURES", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"figure [\w-]+ was not made; run python -m docs.site"):
        stage(tmp_path / "source")


@pytest.fixture(scope="module")
def site(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site that MkDocs builds strictly of these pages."""
    if not importlib.util.find_spec("mkdocs"):
        pytest.skip("MkDocs is not installed")
    folder = tmp_path_factory.mktemp("built")
    settings = (ROOT / "docs/site/mkdocs.yml").read_text()
    settings = settings.replace("../../out/docs-source", str(source)).replace(
        "../../out/site", str(folder / "site")
    )
    (folder / "mkdocs.yml").write_text(settings)
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", str(folder / "mkdocs.yml")],
        capture_output=True,
        text=True,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert built.returncode == 0, built.stderr
    return folder / "site"


def test_the_site_loads_nothing_from_other_hosts(site: Path) -> None:
    pages = [*site.rglob("*.html")]
    assert len(pages) > 55
    for page in pages:
        found = RESOURCE.search(page.read_text())
        assert found is None, f"{page.name}: {found and found[0]}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:|//)", style.read_text()), style.name


def test_every_page_is_in_the_navigation(source: Path) -> None:
    listed = re.findall(r"(?:: |- )([\w/-]+\.md)$", (ROOT / "docs/site/mkdocs.yml").read_text(), re.MULTILINE)
    pages = {path.relative_to(source).as_posix() for path in source.rglob("*.md")}
    assert sorted(listed) == sorted(pages)


def test_pages_from_disk_can_be_searched_and_fit_a_phone(site: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        trouble: list[str] = []
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.goto((site / "docs/howto/vit.html").as_uri())
        page.click(".md-search__input")
        page.keyboard.type("receptive field", delay=20)
        page.wait_for_selector(".md-search-result__link[href*='receptive-fields.html']", timeout=15_000)
        page.set_viewport_size({"width": 390, "height": 844})
        for name in ("index.html", "docs/tables.html", "docs/gallery/typical.html", "bench/index.html"):
            page.goto((site / name).as_uri())
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= 390, f"{name} is {width} pixels wide"
        assert trouble == []
