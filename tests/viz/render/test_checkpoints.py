"""An interrupted rendering continues where it was, and gives the picture that it would have given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import viz.ascent.checkpoint
from pipeline.errors import RenderError
from tests.fixtures import golden_renderings
from tests.fixtures.convnets import convnet, layer_of
from viz.passes.scorer import Scorer
from viz.recipes.catalog import get_recipe
from viz.render.render_units import render_units
from viz.render.table import Rendered
from viz.tensor_files import save_tensors

pytestmark = pytest.mark.slow

RECIPE = get_recipe("fourier", {"steps": "9"})


class Stopped:
    """Counts the steps of `Scorer.gradient`, and interrupts some of them as Ctrl-C does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, every: int) -> None:
        self.every, self.steps, self.stops = every, 0, 0
        whole = Scorer.gradient

        def gradient(scorer: Scorer, *arguments: Any) -> Any:
            self.steps += 1
            if self.every and self.steps % self.every == 0:
                self.stops += 1
                raise KeyboardInterrupt
            return whole(scorer, *arguments)

        monkeypatch.setattr(Scorer, "gradient", gradient)
        monkeypatch.setattr(viz.ascent.checkpoint, "CHECKPOINT_SECONDS", 0.0)

    def render(self, *arguments: Any, **options: Any) -> list[Rendered]:
        """`render_units`, run again until it ends by itself."""
        while True:
            try:
                return render_units(*arguments, **options)
            except KeyboardInterrupt:
                continue


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> golden_renderings.Renderings:
    return golden_renderings.render_all(tmp_path_factory.mktemp("whole"))


@pytest.mark.thorough
@pytest.mark.parametrize("every", [2, 5])
def test_every_recipe_continues_bit_for_bit(expected, tmp_path, monkeypatch, every):
    """Pictures, traces, second attempts and their choice are those of an undisturbed run."""
    stopped = Stopped(monkeypatch, every)
    found = golden_renderings.render_all(tmp_path / "stopped", stopped.render)
    assert stopped.stops > len(golden_renderings.CASES)
    for name, picture in expected.pictures.items():
        assert (found.pictures[name] == picture).all(), name
    assert found.digest == expected.digest
    assert not list((tmp_path / "stopped").rglob("*.checkpoint"))
    assert not list((tmp_path / "stopped").rglob("*.tmp"))


def test_no_step_is_done_twice(tmp_path, monkeypatch):
    network = convnet()
    stopped = Stopped(monkeypatch, every=4)
    stopped.render(network, layer_of(network, "late"), [1, 2], RECIPE, out=tmp_path)
    assert stopped.stops > 1
    assert stopped.steps - stopped.stops == 9


def test_a_batch_of_other_units_does_not_continue_it(tmp_path, monkeypatch):
    network = convnet()
    layer = layer_of(network, "late")
    stopped = Stopped(monkeypatch, every=4)
    with pytest.raises(KeyboardInterrupt):
        render_units(network, layer, [1, 2], RECIPE, out=tmp_path)
    (kept,) = (tmp_path / "renders").glob(".*.checkpoint")
    stopped.every = 0
    render_units(network, layer, [2], RECIPE, out=tmp_path)
    assert kept.exists()
    render_units(network, layer, [1], RECIPE, out=tmp_path)
    assert not kept.exists(), "its first rendering is finished: nobody will ask for it again"


@pytest.mark.parametrize("damage", ["cut", "flip", "other", "empty"])
def test_a_damaged_checkpoint_is_refused_or_started_over(tmp_path, monkeypatch, damage):
    network = convnet()
    layer = layer_of(network, "late")
    (expected,) = render_units(network, layer, [1], RECIPE, out=tmp_path / "whole")
    stopped = Stopped(monkeypatch, every=6)
    with pytest.raises(KeyboardInterrupt):
        render_units(network, layer, [1], RECIPE, out=tmp_path)
    (path,) = (tmp_path / "renders").glob(".*.checkpoint")
    stopped.every = 0
    _damage(path, damage)
    if damage == "other":
        with pytest.raises(RenderError, match="delete it and run the same command again"):
            render_units(network, layer, [1], RECIPE, out=tmp_path)
        path.unlink()
    (row,) = render_units(network, layer, [1], RECIPE, out=tmp_path)
    assert row.trace == expected.trace
    assert (tmp_path / row.file).read_bytes() == (tmp_path / "whole" / expected.file).read_bytes()


def _damage(path: Path, damage: str) -> None:
    content = bytearray(path.read_bytes())
    if damage == "other":
        save_tensors(path, {"step": 3})
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2 if damage == "cut" else 0])
