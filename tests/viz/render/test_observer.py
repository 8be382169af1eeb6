"""An observer is shown every step, changes nothing, and can end a rendering of which nothing is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

import viz.ascent.checkpoint
from pipeline.errors import RenderingStopped
from tests.fixtures.convnets import convnet, layer_of
from viz.recipes.catalog import get_recipe
from viz.render.render_units import render_units
from viz.render.table import load_renders

pytestmark = pytest.mark.slow

RECIPE = get_recipe("fourier", {"steps": "6"})


class Watcher:
    """Notes steps and scores, and ends the ascent at a step."""

    def __init__(self, last: int = 1 << 30) -> None:
        self.last = last
        self.steps: list[int] = []
        self.scores: list[float] = []
        self.shapes: set[tuple[int, ...]] = set()

    def see(self, step: int, steps: int, scores: Tensor, pictures: Tensor) -> None:
        assert steps == 6
        assert not scores.requires_grad
        assert not pictures.requires_grad
        self.steps.append(step)
        self.scores.append(scores[0].item())
        self.shapes.add(tuple(pictures.shape))
        if step == self.last:
            raise RenderingStopped("ended")


def test_it_is_shown_every_step_and_changes_nothing(tmp_path: Path) -> None:
    network = convnet()
    layer, watcher = layer_of(network, "late"), Watcher()
    (plain,) = render_units(network, layer, [2], RECIPE, out=tmp_path / "plain")
    (seen,) = render_units(network, layer, [2], RECIPE, out=tmp_path / "seen", observer=watcher)
    # A second attempt follows where the first has failed.
    attempts = len(watcher.steps) // 6
    assert watcher.steps == [*range(6)] * attempts
    assert seen.trace in {tuple(watcher.scores[6 * n : 6 * n + 6]) for n in range(attempts)}
    assert all(shape[:2] == (1, 3) for shape in watcher.shapes)
    assert seen.sha256 == plain.sha256


def test_nothing_is_kept_of_a_rendering_that_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viz.ascent.checkpoint, "CHECKPOINT_SECONDS", 0.0)
    network = convnet()
    with pytest.raises(RenderingStopped):
        render_units(network, layer_of(network, "late"), [2], RECIPE, out=tmp_path, observer=Watcher(3))
    assert not load_renders(tmp_path)
    assert not [path for path in (tmp_path / "renders").rglob("*") if path.is_file()]
