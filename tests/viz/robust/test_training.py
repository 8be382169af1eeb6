"""Robust copies: trained on an index, resumed from a checkpoint, used for rendering."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.config import RunConfig
from pipeline.errors import RenderError
from pipeline.images.decode import decode
from pipeline.networks.network import Network
from pipeline.progress import Silent, SilentTask, Task
from pipeline.query.index import Index, open_index
from pipeline.runs.run import run_index
from pipeline.store.derived import derived_files
from tests.fixtures.convnets import convnet, layer_of
from tests.fixtures.tiny import picture, write_tars
from viz.inputs.inputs import Inputs
from viz.objectives.objective import point
from viz.passes.watch import Watch
from viz.recipes.catalog import get_recipe
from viz.render.measure import measure, open_picture
from viz.render.render_index import render_index
from viz.render.render_units import render_units
from viz.robust.feature_distance import feature_distance, feature_variances
from viz.robust.options import RobustOptions
from viz.robust.perturbation import perturb
from viz.robust.robust_copy import load_robust, robust_path
from viz.robust.training import train_robust
from viz.training import loop

pytestmark = pytest.mark.slow

OPTIONS = RobustOptions(steps=6, batch=4, size=32, rate=1e-3)
LAYERS = ("middle", "late")


@pytest.fixture(scope="module")
def network() -> Network:
    return convnet()


@pytest.fixture(scope="module")
def indexed(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("robust")
    tars = write_tars(folder / "data", [14, 10])
    config = RunConfig(
        data=tuple(map(str, tars)),
        out=folder / "out",
        network="convnet",
        layers=LAYERS,
        top=8,
        compile="off",
    )
    run_index(config, network=network)
    return folder / "out"


@pytest.fixture
def index(indexed: Path, tmp_path: Path) -> Iterator[Index]:
    shutil.copytree(indexed, tmp_path / "out")
    with open_index(tmp_path / "out") as opened:
        yield opened


class Stopping(Silent):
    """A reporter that interrupts the training after a number of steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Iterator[Task]:
        stopping = self

        class Counted(SilentTask):
            def advance(self, count: int = 1) -> None:
                stopping.left -= count if unit == "steps" else 0
                if stopping.left < 0:
                    raise KeyboardInterrupt

        yield Counted()


def test_features_of_the_copy_change_less_and_stay_near_those_of_the_network(
    network: Network, index: Index
) -> None:
    """On a perturbation of its own, found in more steps than in training, from another start."""
    options = replace(OPTIONS, steps=80, batch=8, noise=8.0)
    before = state(network)
    copy = load_robust(train_robust(index, network, options), network)
    assert all(torch.equal(value, before[key]) for key, value in state(network).items())
    assert copy.layers == set(LAYERS)
    assert copy.network.digest != network.digest
    others = [decode(picture(100 + number, 60), network.preprocess) for number in range(8)]
    pictures = torch.stack(others).float()
    with Watch(network, index.layers, None) as wanted, Watch(copy.network, index.layers, None) as found:
        targets = {name: each.values.detach() for name, each in wanted(pictures).items()}
        variances = feature_variances(wanted(pictures))

        def distance(watch: Watch, seen: torch.Tensor) -> torch.Tensor:
            return feature_distance(watch(seen), targets, variances)

        attacked = {
            name: float(
                distance(
                    watch,
                    perturb(
                        lambda seen, watch=watch: distance(watch, seen),
                        pictures,
                        8.0,
                        torch.Generator().manual_seed(9),
                        steps=5,
                    ),
                ).mean()
            )
            for name, watch in (("network", wanted), ("copy", found))
        }
        unchanged = float(distance(found, pictures).mean())
    assert attacked["copy"] < 0.9 * attacked["network"]
    assert unchanged < attacked["copy"]


def test_an_interrupted_training_has_the_bits_of_an_uninterrupted_one(
    network: Network, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_STEPS", 2)
    path = train_robust(index, network, OPTIONS)
    expected = torch.load(path, weights_only=True)
    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        train_robust(index, network, OPTIONS, reporter=Stopping(5))
    with pytest.raises(RenderError, match=r"not finished \(step 4 of 6\); run `maxact robust train`"):
        load_robust(path, network)
    rest = Stopping(100)
    assert train_robust(index, network, OPTIONS, reporter=rest) == path
    assert rest.notes == ["resuming at step 4 of 6"]
    found = torch.load(path, weights_only=True)
    assert found["adam"] is None
    assert found.keys() == expected.keys()
    for key, value in expected["weights"].items():
        assert torch.equal(found["weights"][key], value), key
    assert [each.path for each in derived_files(index.out)] == [path]
    at = path.stat().st_mtime_ns
    train_robust(index, network, OPTIONS)
    assert path.stat().st_mtime_ns == at, "a finished training is not repeated"


def test_the_order_depends_on_the_seed(network: Network, index: Index) -> None:
    first = state(load_robust(train_robust(index, network, OPTIONS), network).network)
    robust_path(index.out).unlink()
    other = replace(OPTIONS, seed=1)
    second = state(load_robust(train_robust(index, network, other), network).network)
    assert any(not torch.equal(first[key], second[key]) for key in first)


def test_a_copy_of_other_settings_is_not_resumed(network: Network, index: Index) -> None:
    train_robust(index, network, OPTIONS)
    with pytest.raises(RenderError, match=r"other settings \(options"):
        train_robust(index, network, replace(OPTIONS, noise=3.0))


def test_the_recipe_uses_the_copy_and_measures_the_network(network: Network, index: Index) -> None:
    copy = load_robust(train_robust(index, network, OPTIONS), network)
    layer, inputs = layer_of(network, "late"), Inputs(network, index)
    options = {"steps": "6", "images": "4", "close_side": "32"}
    made = {}
    for name in ("typical", "robust"):
        recipe = get_recipe(name, options)
        rows = render_index(index, recipe, layers="late", units="1,3", network=network)
        pictures = [open_picture(index.out / row.file, 3) for row in rows]
        objectives = [point(layer, row.unit) for row in rows]
        canvas = recipe.canvas(inputs, layer, objectives[0])
        ours, other = (
            [each.activation for each in measure(seen, pictures, objectives, canvas)]
            for seen in (network, copy.network)
        )
        assert [row.activation for row in rows] == ours != other
        made[name] = pictures
    pairs = zip(made["typical"], made["robust"], strict=True)
    assert not any(torch.equal(*pair) for pair in pairs)


def test_a_missing_a_foreign_and_a_damaged_copy_are_told(network: Network, index: Index) -> None:
    recipe = get_recipe("robust", {"steps": "2", "images": "4", "close_side": "32"})
    with pytest.raises(RenderError, match=r"there is no robust copy.*maxact robust train"):
        render_index(index, recipe, layers="late", units="1", network=network)
    with pytest.raises(RenderError, match="needs a robust copy of the network; train one with"):
        render_units(
            network,
            layer_of(network, "late"),
            [1],
            recipe,
            out=index.out / "other",
            inputs=Inputs(network, index),
        )
    path = train_robust(index, network, OPTIONS)
    with pytest.raises(RenderError, match="a copy of another network"):
        load_robust(path, replace(network, digest="0" * 64))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(RenderError, match="is no robust copy"):
        load_robust(path, network)
    path.write_bytes(b"nothing")
    with pytest.raises(RenderError, match="cannot be read"):
        train_robust(index, network, OPTIONS)


def test_a_layer_whose_features_were_not_kept_is_refused(network: Network, index: Index) -> None:
    copy = load_robust(train_robust(index, network, OPTIONS), network)
    inputs = Inputs(network, index, robust=replace(copy, layers=frozenset({"middle"})))
    recipe = get_recipe("robust", {"steps": "2", "images": "4", "close_side": "32"})
    with pytest.raises(RenderError, match="was not trained to keep the features of late"):
        render_units(network, layer_of(network, "late"), [1], recipe, out=index.out, inputs=inputs)


def test_the_option_is_for_the_recipe_only(network: Network, index: Index, tmp_path: Path) -> None:
    for recipe, file, message in (
        ("typical", tmp_path, "takes no robust copy, so that --robust-copy would be ignored"),
        ("robust", tmp_path / "none.pt", "none.pt does not exist"),
    ):
        with pytest.raises(RenderError, match=message):
            render_index(index, get_recipe(recipe), layers="late", network=network, robust_copy=file)


def state(network: Network) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.module.state_dict().items()}
