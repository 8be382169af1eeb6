"""What notebooks show of units and renderings."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import maxact
from pipeline.errors import RenderError, SourceError, UsageError
from pipeline.query.index import Index
from pipeline.runs.run import run_index
from tests.fixtures.renders import rendered
from tests.fixtures.runs import config
from tests.fixtures.small_index import build_index
from tests.fixtures.tiny import tiny_network, write_tars
from viz.notebook.views import Rendering, Renderings
from viz.sheets.palette import PAPER

PICTURE = re.compile(r'src="data:image/webp;base64,([^"]+)"')


def pictures(html: str) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in PICTURE.findall(html)]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with maxact.open_index(build_index(tmp_path_factory.mktemp("small"))) as opened:
        yield opened


def test_a_unit_shows_its_patches_in_order(index: Index) -> None:
    view = index.unit("blocks.1", 3).show(5)
    html = view._repr_html_()
    assert len(pictures(html)) == len(view.cell.tiles) == 5
    assert {picture.width == picture.height > 112 for picture in pictures(html)} == {True}
    assert "<b>blocks.1, unit 3</b>" in html
    activations = [tile.activation for tile in view.cell.tiles]
    assert activations == sorted(activations, reverse=True)
    assert str(view).startswith("blocks.1, unit 3: rings")
    assert view._repr_mimebundle_() == {"text/html": html, "text/plain": str(view)}


def test_more_patches_than_a_sheet_has(index: Index) -> None:
    assert len(index.unit("blocks.1", 3).show(14).cell.tiles) == 14


def test_the_display_of_a_unit_is_its_view(index: Index) -> None:
    unit = index.unit("head", "rings")
    assert unit._repr_html_() == unit.show()._repr_html_()


def test_a_unit_without_top_images(index: Index) -> None:
    view = index.unit("stem", 5).show()
    assert "no top images" in view._repr_html_()
    assert "no top images" in str(view)
    assert view.image.getcolors() == [(view.image.width * view.image.height, PAPER)]


def test_a_view_is_saved_as_a_picture(index: Index, tmp_path: Path) -> None:
    path = index.unit("blocks.1", 3).show(4).save(tmp_path / "unit.png")
    with Image.open(path) as picture:
        assert picture.size == (4 * 232 - 8, 224)


@pytest.mark.parametrize("n", [0, -1, 2.5, "3", True])
def test_a_wrong_number_of_patches(index: Index, n: object) -> None:
    with pytest.raises(UsageError, match="n must be a number of patches"):
        index.unit("stem", 0).show(n)


def test_where_the_dataset_is_gone_statistics_are_shown(tmp_path: Path) -> None:
    out = build_index(tmp_path)
    shutil.rmtree(tmp_path / "photographs")
    with maxact.open_index(out) as opened:
        unit = opened.unit("stem", 0)
        assert unit._repr_html_() == unit.card()._repr_html_()
        with pytest.raises(SourceError):
            unit.show()


@pytest.mark.slow
def test_a_unit_is_rendered_and_then_taken_from_the_index(tmp_path: Path) -> None:
    out = tmp_path / "out"
    network = tiny_network()
    run_index(config(write_tars(tmp_path, [8]), out, layers=("first",)), network=network)
    with maxact.open_index(out) as opened:
        unit = opened.unit("first", 1)
        made = unit.render("fourier", steps=3, seed=2, network=network, reporter=maxact.Silent())
        again = unit.render("fourier", steps=3, seed=2, network=network, reporter=maxact.Silent())
        assert isinstance(made, Renderings)
        assert [each.row.file for each in made] == [each.row.file for each in again]
        assert [each.image for each in made] == [each.image for each in again]
        assert (made[0].row.unit, made[0].row.steps, made[0].row.seed) == (1, 3, 2)
        assert isinstance(made[0], Rendering)
        assert isinstance(made[:1], Renderings)
        assert made[0].caption in repr(made)
        assert len(pictures(made._repr_html_())) == 1
        assert Image.open(io.BytesIO(made[0]._repr_png_())).size == made[0].image.size
        assert len(pictures(unit.show(2)._repr_html_())) == 3
        with pytest.raises(RenderError, match="no option 'stepz'"):
            unit.render("fourier", stepz=3)


def test_renderings_are_shown_as_text_and_as_pictures() -> None:
    shown = [
        Rendering(rendered(ratio, unit=unit, status=status), Image.new("RGB", (4, 4)))
        for unit, (ratio, status) in enumerate([(1.5, "ok"), (None, "weak")])
    ]
    both = Renderings(tuple(shown))
    assert len(both) == 2
    assert both[1] is shown[1]
    assert list(both[:1]) == shown[:1]
    assert repr(both[0]) == "Rendering(blocks.1 0: fourier 7.50, 1.5 of the best real image)"
    assert repr(both[1]) == "Rendering(blocks.1 1: fourier 5.00, weak)"
    assert "1.5 of the best real image" in both[0]._repr_html_()
    assert both[0]._repr_html_().count("<img") == 1
