"""Priors: trained on an index, resumed from a checkpoint, used for rendering."""

from __future__ import annotations

import io
import itertools
import random
import shutil
import tarfile
from contextlib import contextmanager

import pytest
import torch

from pipeline.config import RunConfig
from pipeline.errors import BadImage, RenderError, ShardError
from pipeline.images.decode import decode
from pipeline.progress import Silent
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from tests.fixtures.convnets import convnet, layer_of
from tests.fixtures.tables import edit_run
from tests.fixtures.tiny import write_tars
from viz.inputs.inputs import Inputs
from viz.priors import training_data as prior_examples
from viz.priors.options import PriorOptions
from viz.priors.prior import load_prior
from viz.priors.training import train_prior
from viz.priors.training_data import Pairs
from viz.recipes.catalog import get_recipe
from viz.render.render_units import render_units
from viz.training import examples as training_examples
from viz.training import loop as training_loop

pytestmark = pytest.mark.slow

OPTIONS = {"size": 16, "grid": 4, "batch": 4}


@pytest.fixture(scope="module")
def network():
    return convnet()


@pytest.fixture
def index(network, tmp_path):
    tars = write_tars(tmp_path / "data", [12])
    run_index(
        RunConfig(
            data=tuple(map(str, tars)),
            out=tmp_path / "out",
            network="convnet",
            layers=("late",),
            top=8,
            compile="off",
        ),
        network=network,
    )
    with open_index(tmp_path / "out") as opened:
        yield opened


class Stopping(Silent):
    """A reporter that interrupts training after a number of steps."""

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


def assert_same(found, expected, where="checkpoint"):
    """Compare two checkpoints bit for bit, recursively."""
    assert type(found) is type(expected), where
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype, where
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            assert_same(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for place, pair in enumerate(zip(found, expected, strict=True)):
            assert_same(*pair, f"{where}.{place}")
    else:
        assert found == expected, where


@pytest.fixture(scope="module")
def indexed(network, tmp_path_factory):
    """An index of shards with 7, 9, 1 and 11 images, and one file that is not an image."""
    folder = tmp_path_factory.mktemp("prior")
    tars = write_tars(folder / "data", [7, 9, 1, 11])
    with tarfile.open(tars[1], "a") as archive:
        member = tarfile.TarInfo("broken.png")
        member.size = 9
        archive.addfile(member, io.BytesIO(b"no image!"))
    config = RunConfig(
        data=tuple(map(str, tars)),
        out=folder / "out",
        network="convnet",
        top=8,
        compile="off",
        layers=("relu6", "late"),
        max_bad_fraction=0.5,
    )
    run_index(config, network=network)
    return folder / "out"


@pytest.mark.parametrize("stored", [4096, 16], ids=["all stored", "rolling"])
@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_an_interrupted_training_has_the_bits_of_an_uninterrupted_one(
    network, indexed, tmp_path, monkeypatch, stored, adversarial
):
    monkeypatch.setattr(training_loop, "CHECKPOINT_STEPS", 3)
    monkeypatch.setattr(prior_examples, "STORED_EXAMPLES", stored)
    layer = layer_of(network, "late")
    options = PriorOptions(**OPTIONS, steps=11, adversarial=adversarial, seed=3)
    steps = random.Random(f"{stored} {adversarial}")
    ended = []
    for name, stops in (("calm", []), ("stopped", sorted(steps.sample(range(1, 11), 2)))):
        shutil.copytree(indexed, tmp_path / name)
        with open_index(tmp_path / name) as index:
            for stop in stops:
                with pytest.raises(KeyboardInterrupt):
                    train_prior(index, network, layer, options, reporter=Stopping(stop))
            path = train_prior(index, network, layer, options)
        ended.append(torch.load(path, weights_only=True))
    assert ended[0]["step"] == 11
    assert_same(ended[1], ended[0])


def test_batches_do_not_depend_on_the_step_of_the_first_fill(network, indexed, monkeypatch):
    monkeypatch.setattr(prior_examples, "STORED_EXAMPLES", 16)
    layer = layer_of(network, "late")
    with open_index(indexed) as index:

        def batches(first):
            examples = Pairs(index, network, layer, 4, 16, seed=1)
            assert not examples.complete
            examples.fill(first, Silent())
            return [examples.draw(step, 6) for step in range(first, 20)]

        undisturbed = batches(0)
        for first in (1, 2, 3, 7, 15):
            assert_same(batches(first), undisturbed[first:])
        images = torch.cat([images for images, _ in undisturbed])
    assert len(images.flatten(1).unique(dim=0)) > 20, "the buffer replaces images"


def test_the_order_depends_on_the_seed(network, indexed):
    layer = layer_of(network, "late")
    with open_index(indexed) as index:
        drawn = []
        for seed in (0, 1, 0):
            examples = Pairs(index, network, layer, 4, 16, seed=seed)
            assert examples.total == 28
            assert examples.complete
            examples.fill(0, Silent())
            assert len(examples.codes()) == 28
            drawn.append(examples.draw(5, 8)[0])
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


def test_images_that_cannot_be_decoded_are_skipped(network, indexed, monkeypatch):
    calls = itertools.count()

    def picky(data, preprocess):
        if next(calls) % 3 == 1:
            raise BadImage("odd", "rejected by this decoder")
        return decode(data, preprocess)

    monkeypatch.setattr(training_examples, "decode", picky)
    with open_index(indexed) as index:
        examples = Pairs(index, network, layer_of(network, "late"), 4, 16, seed=0)
        examples.fill(0, Silent())
        assert len(examples.codes()) == 19
        examples.draw(0, 4)


def test_a_shard_that_lost_images_is_reported(network, indexed, tmp_path):
    shutil.copytree(indexed, tmp_path / "out")
    tars = write_tars(tmp_path / "data", [7, 9, 1, 5])
    edit_run(tmp_path / "out", lambda run: run["dataset"].update(data=[str(path) for path in tars]))
    with open_index(tmp_path / "out", trust=True) as index:
        examples = Pairs(index, network, layer_of(network, "late"), 4, 16, seed=0)
        with pytest.raises(ShardError, match="5 of 11 indexed images"):
            examples.fill(0, Silent())


def test_training_resumes_from_its_checkpoint(network, index, monkeypatch):
    monkeypatch.setattr(training_loop, "CHECKPOINT_STEPS", 2)
    layer, options = layer_of(network, "late"), PriorOptions(**OPTIONS, steps=6)
    with pytest.raises(KeyboardInterrupt):
        train_prior(index, network, layer, options, reporter=Stopping(4))
    rest = Stopping(100)
    path = train_prior(index, network, layer, options, reporter=rest)
    assert rest.advances == [4, 1, 1], "the steps before the checkpoint are not repeated"
    load_prior(path)
    with pytest.raises(RenderError, match=r"other settings \(options"):
        train_prior(index, network, layer, PriorOptions(**OPTIONS, steps=7))
    content = torch.load(path, weights_only=True)
    torch.save({**content, "version": 1}, path)
    with pytest.raises(RenderError, match=r"other settings \(version: found 1, expected 2\)"):
        train_prior(index, network, layer, options)


def test_a_trained_prior_is_rendered(network, index, tmp_path):
    layer = layer_of(network, "late")
    prior = load_prior(train_prior(index, network, layer, PriorOptions(**OPTIONS, steps=3)))
    pictures = prior.decode((prior.lower + prior.upper)[None] / 2)
    assert pictures.shape == (1, 3, 16, 16)
    assert ((pictures >= 0) & (pictures <= 255)).all()
    recipe = get_recipe("prior", {"steps": "6"})
    inputs = Inputs(network, index, generator=prior)
    found = {}
    for units in ([3, 1], [1, 2, 3]):
        rows = render_units(network, layer, units, recipe, out=tmp_path / str(len(units)), inputs=inputs)
        assert [row.unit for row in rows] == units
        assert all(max(row.trace) > row.trace[0] for row in rows)
        found[len(units)] = {row.unit: row.activation for row in rows}
    assert {unit: found[3][unit] for unit in (3, 1)} == found[2]


def test_rendering_without_a_prior_says_how_to_train_one(network, index, tmp_path):
    with pytest.raises(RenderError, match="prior train"):
        render_units(
            network,
            layer_of(network, "late"),
            [0],
            get_recipe("prior"),
            out=tmp_path / "a",
            inputs=Inputs(network, index),
        )


@pytest.mark.parametrize("wrong", [{"size": 48}, {"size": 8, "grid": 8}, {"steps": 0}, {"adversarial": -1.0}])
def test_invalid_options_are_rejected(wrong):
    with pytest.raises(RenderError):
        PriorOptions(**wrong)
