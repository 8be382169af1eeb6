"""Units of an index, chosen as everywhere, rendered with a network of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import LayerError, MaxactError, RenderError, RenderingFailed, StoreError, UsageError
from pipeline.query.index import Index, open_index
from pipeline.runs.run import run_index
from tests.fixtures.runs import config
from tests.fixtures.tiny import tiny_network, write_tars
from viz.inputs.inputs import Inputs
from viz.projections.page import draw_projections
from viz.recipes.catalog import get_recipe
from viz.render.render_index import render_index
from viz.sheets.pages import draw_sheets

pytestmark = pytest.mark.slow

RECIPE = get_recipe("fourier", {"steps": "2"})


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    folder = tmp_path_factory.mktemp("tiny")
    run_index(config(write_tars(folder / "data", [9, 8]), folder / "out"), network=tiny_network())
    with open_index(folder / "out") as index:
        yield index


def test_a_network_of_ones_own_needs_no_name_that_can_be_loaded(index: Index) -> None:
    rows = render_index(index, RECIPE, layers="first", units=range(2), network=tiny_network())
    assert [(row.layer, row.unit) for row in rows] == [("first", 0), ("first", 1)]
    with pytest.raises(MaxactError, match="network of this index, tiny, was passed in Python"):
        render_index(index, RECIPE, layers="first", units=range(2))


def test_a_network_with_other_weights_is_refused(index: Index) -> None:
    with pytest.raises(StoreError, match=r"was made with weights .* tiny now has .* index again"):
        render_index(index, RECIPE, layers="first", network=tiny_network(seed=1))


def test_layers_and_units_are_chosen_alike_everywhere(index: Index) -> None:
    network = tiny_network()
    for layers, units in (("second", [2, 3]), (["seco*"], "2-3"), (("second",), range(2, 4))):
        rows = render_index(index, RECIPE, layers=layers, units=units, network=network)
        sheets = draw_sheets(index, layers=layers, units=units)
        pages = draw_projections(index, layers=layers, units=units, methods=(), network=network)
        assert [row.unit for row in rows] == [2, 3]
        assert [file.name for file in sheets] == ["second-fourier-0002-0003.png"]
        assert [file.name for file in pages] == ["00002.png", "00003.png"]
        assert list(index.tops("second", units, n=1)) == [2, 3]


def test_what_is_not_there_is_refused_alike_everywhere(index: Index) -> None:
    network = tiny_network()
    for call in (
        lambda **chosen: render_index(index, RECIPE, network=network, **chosen),
        lambda **chosen: draw_sheets(index, **chosen),
        lambda **chosen: draw_projections(index, network=network, **chosen),
    ):
        with pytest.raises(LayerError, match="has no layer 'frist'; did you mean 'first'"):
            call(layers="frist")
        with pytest.raises(UsageError, match="first has 5 units, numbered 0-4; got 5"):
            call(layers=["first"], units=[5])
    with pytest.raises(UsageError, match="no units of first to draw"):
        draw_sheets(index, layers="first", units=[])


def test_a_photograph_that_is_none_is_refused(index: Index, tmp_path: Path) -> None:
    dream = get_recipe("dream", {"steps": "3"})
    (tmp_path / "a.jpg").write_bytes(b"no photograph")
    with pytest.raises(RenderingFailed, match=r"--photo .*a\.jpg is no photograph that can be read: "):
        render_index(index, dream, layers="first", photograph=tmp_path / "a.jpg", network=tiny_network())
    with pytest.raises(RenderError, match=r"--photo .*b\.jpg cannot be read: No such file or directory"):
        render_index(index, dream, layers="first", photograph=tmp_path / "b.jpg", network=tiny_network())
    inputs = Inputs(tiny_network())
    for name in ("index", "generator"):
        with pytest.raises(RenderError, match="this recipe "):
            getattr(inputs, name)
    with pytest.raises(RenderError, match="this recipe starts from a photograph; give --photo FILE"):
        inputs.identity("photograph")
