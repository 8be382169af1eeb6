"""A prior: trained on an index, taken up again from its checkpoint, climbed in."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from pipeline.config import RunConfig
from pipeline.errors import RenderError
from pipeline.progress import Silent
from pipeline.query import open_index
from pipeline.run import run_index
from tests.climbers import climber, layer_of
from tests.tiny import write_tars
from viz import prior_training
from viz.material import Material
from viz.prior import load_prior
from viz.prior_training import PriorOptions, train_prior
from viz.recipe import get_recipe
from viz.render import render_units

OPTIONS = {"size": 16, "grid": 4, "batch": 4}


@pytest.fixture(scope="module")
def network():
    return climber()


@pytest.fixture
def index(network, tmp_path):
    tars = write_tars(tmp_path / "data", [12])
    run_index(
        RunConfig(
            data=tuple(map(str, tars)), out=tmp_path / "out", network="climber", layers=("late",),
            top=8, compile="off",
        ),
        network=network,
    )  # fmt: skip
    with open_index(tmp_path / "out") as opened:
        yield opened


class Stopping(Silent):
    """Presses Ctrl-C when training has done so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.advances: list[int] = []

    @contextmanager
    def task(self, title, total, unit):
        stopping = self

        class Counted:
            def advance(self, count: int = 1) -> None:
                if unit == "steps":
                    stopping.advances.append(count)
                    stopping.left -= count
                    if stopping.left < 0:
                        raise KeyboardInterrupt

            def describe(self, text: str) -> None: ...

        yield Counted()


def test_an_interrupted_training_goes_on_from_its_checkpoint(network, index, monkeypatch):
    monkeypatch.setattr(prior_training, "CHECKPOINT_STEPS", 2)
    layer, options = layer_of(network, "late"), PriorOptions(**OPTIONS, steps=6)
    with pytest.raises(KeyboardInterrupt):
        train_prior(index, network, layer, options, reporter=Stopping(4))
    rest = Stopping(100)
    path = train_prior(index, network, layer, options, reporter=rest)
    assert rest.advances == [4, 1, 1], "the steps before the checkpoint are not done again"
    load_prior(path)
    with pytest.raises(RenderError, match="other settings"):
        train_prior(index, network, layer, PriorOptions(**OPTIONS, steps=7))


def test_a_trained_prior_is_climbed_in(network, index, tmp_path):
    layer = layer_of(network, "late")
    prior = load_prior(train_prior(index, network, layer, PriorOptions(**OPTIONS, steps=3)))
    pictures = prior.decode((prior.lower + prior.upper)[None] / 2)
    assert pictures.shape == (1, 3, 16, 16)
    assert ((pictures >= 0) & (pictures <= 255)).all()
    recipe = get_recipe("prior", {"steps": "6"})
    material = Material(network, index, prior=prior)
    found = {}
    for units in ([3, 1], [1, 2, 3]):
        rows = render_units(
            network, layer, units, recipe, out=tmp_path / str(len(units)), material=material
        )
        assert [row.unit for row in rows] == units
        assert all(max(row.trace) > row.trace[0] for row in rows)
        found[len(units)] = {row.unit: row.activation for row in rows}
    assert {unit: found[3][unit] for unit in (3, 1)} == found[2]


def test_without_a_prior_the_recipe_says_how_to_get_one(network, index, tmp_path):
    with pytest.raises(RenderError, match="prior train"):
        render_units(
            network, layer_of(network, "late"), [0], get_recipe("prior"), out=tmp_path / "a",
            material=Material(network, index),
        )  # fmt: skip


@pytest.mark.parametrize(
    "wrong", [{"size": 48}, {"size": 8, "grid": 8}, {"steps": 0}, {"adversarial": -1.0}]
)
def test_options_that_cannot_be_are_refused(wrong):
    with pytest.raises(RenderError):
        PriorOptions(**wrong)
