"""Photographs explained: peaks as recorded, exact ranks among the indexed images, regions, pulls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from pipeline.errors import LayerError, MaxactError, MissingSource, SourceError, UsageError
from pipeline.explain import photographs, regions
from pipeline.explain.compare import contrast_photographs
from pipeline.explain.distribution import read_distribution
from pipeline.explain.explain import explain_photographs
from pipeline.explain.explainer import Explainer
from pipeline.explain.graph import forward_with_graph
from pipeline.explain.photographs import Photograph, find_photograph, read_photograph
from pipeline.explain.pulls import class_pulls, find_classes
from pipeline.explain.regions import find_grid, relevance
from pipeline.images.decode import decode
from pipeline.query.index import Index, open_index
from pipeline.runs.run import run_index
from pipeline.state.statistics import bucket_bounds, bucket_of
from tests.fixtures.commands import done, refused, run
from tests.fixtures.runs import config
from tests.fixtures.tiny import LAYERS, Tiny, picture, tiny_network, write_tars

pytestmark = pytest.mark.slow

COUNT = 60
STRANGER = 777
"""Seed of a picture that is not in the dataset."""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    run_index(config(write_tars(folder / "data", [COUNT - 20, 20]), folder / "out"), network=tiny_network())
    return folder / "out"


@pytest.fixture
def index(out: Path) -> Iterator[Index]:
    with open_index(out) as opened:
        yield opened


@pytest.fixture
def explainer(index: Index) -> Explainer:
    return Explainer(index, tiny_network(), device="cpu")


def views(module: Tiny, batch: torch.Tensor) -> dict[str, torch.Tensor]:
    """(image, unit, y, x) outputs of the layers, by plain hooks."""
    found: dict[str, torch.Tensor] = {}
    handles = [
        module.get_submodule(name).register_forward_hook(
            lambda _, inputs, output, name=name: found.__setitem__(name, output.clone())
        )
        for name in LAYERS
    ]
    with torch.no_grad():
        module(batch)
    for handle in handles:
        handle.remove()
    return {name: view if view.dim() == 4 else view[:, :, None, None] for name, view in found.items()}


def batch_of(pictures: list[bytes]) -> torch.Tensor:
    network = tiny_network()
    return network.normalise(torch.stack([decode(data, network.preprocess) for data in pictures]))


@pytest.fixture(scope="module")
def peaks() -> dict[str, npt.NDArray[np.float32]]:
    """(image, unit) of the whole dataset."""
    module = tiny_network().module
    assert isinstance(module, Tiny)
    found = views(module, batch_of([picture(number) for number in range(COUNT)]))
    return {name: view.amax((2, 3)).numpy() for name, view in found.items()}


def test_an_indexed_photograph_has_the_recorded_peaks_bit_for_bit(index: Index, explainer: Explainer) -> None:
    recorded = index.sql("SELECT key, layer, unit, activation, y, x FROM patches WHERE side = 'high'").rows
    keys = {row[0] for row in recorded}
    found = {key: explainer.explain(read_photograph(index, key), n=99) for key in keys}
    assert len(recorded) > 50
    for key, layer, unit, activation, y, x in recorded:
        (responses,) = (each.units for each in found[key].layers if each.layer.name == layer)
        (response,) = (each for each in responses if each.unit == unit)
        assert (response.peak, response.y, response.x) == (activation, y, x)


@pytest.mark.parametrize("seed", [0, 17, STRANGER])
def test_ranks_are_those_of_the_whole_matrix(
    explainer: Explainer, peaks: dict[str, npt.NDArray[np.float32]], seed: int
) -> None:
    explanation = explainer.explain(Photograph("it", picture(seed)), n=99)
    exact = 0
    for layer in explanation.layers:
        everywhere = peaks[layer.layer.name]
        live = everywhere.min(0) < everywhere.max(0)
        assert {unit.unit for unit in layer.units} == {*np.flatnonzero(live).tolist()}
        for unit in layer.units:
            values = everywhere[:, unit.unit].astype(np.float64)
            share = (values < unit.peak).mean()
            exact += unit.exact
            if unit.exact:
                assert unit.quantile == pytest.approx(share, abs=1e-12)
            bucket = int(bucket_of(torch.tensor([unit.peak])))
            lower, upper = (bound[bucket] for bound in bucket_bounds())
            below, up_to = (values < lower).mean(), (values <= upper).mean()
            assert unit.exact or below - 1e-9 <= unit.quantile <= up_to + 1e-9
            assert unit.above_all == (unit.peak > values.max())
            assert unit.deviations == pytest.approx((unit.peak - values.mean()) / values.std())
        order = [(-unit.quantile, -unit.deviations) for unit in layer.units]
        assert order == sorted(order)
    assert exact


def test_images_as_high_below_the_list_are_within_a_bucket(index: Index) -> None:
    for layer in index.layers:
        known = read_distribution(index, layer)
        for shift in (-1e6, -3.0, 0.0, 1.0, 1e6):
            given = (known.high + np.float32(shift)).astype(np.float32)
            found, _ = known.images_as_high(given)
            assert (found >= 0).all()
            assert (found <= COUNT).all()
            assert (found[given > known.high] == 0).all()
            assert (found[given <= known.low] == COUNT).all()


def test_maps_are_the_activations(explainer: Explainer) -> None:
    explanation = explainer.explain(Photograph("it", picture(3)), n=2, maps=True)
    module = tiny_network().module
    assert isinstance(module, Tiny)
    wanted = views(module, batch_of([picture(3)]))
    for layer in explanation.layers:
        for unit in layer.units:
            assert unit.map is not None
            if layer.layer.name != "head":
                assert np.array_equal(unit.map, wanted[layer.layer.name][0, unit.unit].numpy())


def test_the_region_of_a_linear_unit_is_what_it_adds(explainer: Explainer) -> None:
    """The head is linear in the maxima of a map: each counts at its own position only."""
    module = tiny_network().module
    assert isinstance(module, Tiny)
    with torch.no_grad():
        maps = views(module, batch_of([picture(5)]))["second"][0].clamp(min=0).numpy()
    places = maps.reshape(len(maps), -1).argmax(1)
    explanation = explainer.explain(Photograph("it", picture(5)), n=99, maps=True)
    (head,) = (layer for layer in explanation.layers if layer.layer.name == "head")
    assert head.units
    for unit in head.units:
        expected = np.zeros(maps[0].size)
        for channel, place in enumerate(places):
            expected[place] += float(module.head.weight[unit.unit, channel]) * maps[channel].max()
        assert unit.map is not None
        assert unit.map.ravel() == pytest.approx(expected.clip(min=0))


def test_pulls_at_the_last_layer_add_up_to_the_difference_of_the_logits(
    index: Index, explainer: Explainer
) -> None:
    module = tiny_network().module
    assert isinstance(module, Tiny)
    (a, b), pulls = class_pulls(explainer, Photograph("it", picture(4)), find_classes(explainer, "0,2"), n=99)
    with torch.no_grad():
        logits = module(batch_of([picture(4)]))[0]
        bias = module.head.bias
    assert (a, b) == (float(logits[0]), float(logits[2]))
    total = sum(
        {(each.layer.name, each.unit): each.pull for each in pulls if each.layer.name == "second"}.values()
    )
    assert total == pytest.approx(a - b - float(bias[0] - bias[2]))
    by_layer = [pull.pull for pull in pulls if pull.layer.name == "first"]
    assert by_layer == sorted(by_layer, reverse=True)


def test_two_photographs_differ_most_where_the_oracle_says(
    explainer: Explainer, peaks: dict[str, npt.NDArray[np.float32]]
) -> None:
    first, second = (Photograph(str(seed), picture(seed)) for seed in (1, 2))
    _, _, contrasts = contrast_photographs(explainer, first, second, n=1)
    for contrast in contrasts:
        everywhere = peaks[contrast.layer.name].astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            apart = np.nan_to_num((everywhere[1] - everywhere[2]) / everywhere.std(0))
        assert abs(contrast.difference) == pytest.approx(np.abs(apart).max())
        assert contrast.difference == pytest.approx(apart[contrast.first.unit])


def test_the_function_of_the_library(index: Index, tmp_path: Path) -> None:
    (tmp_path / "it.png").write_bytes(picture(2))
    found = explain_photographs(index, tmp_path / "it.png", layers="head", n=1, network=tiny_network())
    assert [layer.layer.name for each in found for layer in each.layers] == ["head"]
    assert (found[0].width, found[0].height, found[0].image_id) == (20, 20, None)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("{out}", UsageError, "is a folder; give photographs"),
        ("none.jpg", MissingSource, "neither a file nor the key"),
        ("", UsageError, "is a folder"),
        ("00001x", MissingSource, "did you mean '00001'"),
        ("x" * 5000, MissingSource, "neither a file nor the key"),
        ("{out}/run.json", SourceError, "cannot be used"),
    ],
)
def test_what_is_no_photograph_is_refused(
    index: Index, explainer: Explainer, given: str, error: type[MaxactError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        explainer.explain(read_photograph(index, given.format(out=index.out)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [("0", "needs two classes"), ("1,1", "one class twice"), ("0,99", "head"), ("cat,dog", "got 'cat'")],
)
def test_what_are_no_two_classes_is_refused(explainer: Explainer, words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_classes(explainer, words)


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "it.png").write_bytes(picture(STRANGER))
    tars = write_tars(tmp_path / "data", [12])
    out = tmp_path / "out"
    options = ("--network", "tests.fixtures.tiny:factory", "--compile", "off", "--top", "3")
    done("index", *tars, "-o", out, *options, *(word for name in LAYERS for word in ("--layers", name)))
    result = done("explain", out, tmp_path / "it.png", "00003", "--json", "-n", "1")
    rows = json.loads(result.stdout)
    assert [row["photograph"] for row in rows] == [str(tmp_path / "it.png")] * 4 + ["00003"] * 4
    table = done("explain", out, "00003", "-n", "1", "--sheet", tmp_path / "it2.png").stdout
    assert "photograph" not in table
    with Image.open(tmp_path / "it2.png") as page:
        assert page.width > 1000
    assert "difference" in done("explain", out, "00003", "--against", "00004").stdout
    assert "toward" in done("explain", out, "00003", "--between", "0,1").stdout
    for words, message in (
        (("--against", "00004", "--between", "0,1"), "exclude each other"),
        (("--sheet", tmp_path / "x.png", "--between", "0,1"), "leave out"),
        (("--sheet", tmp_path / "x.jpg"), "ends in .png"),
        (("00004", "--against", "00005"), "takes one photograph, got 2"),
    ):
        assert message in refused(run("explain", out, "00003", *words), 2)


def test_a_layer_that_does_not_depend_on_a_grid_has_no_regions_from_it(explainer: Explainer) -> None:
    layers = {layer.name: layer for layer in explainer.layers}
    image = explainer.batch(decode(picture(0), explainer.network.preprocess))
    head = layers["head"]
    for trained in (False, True):
        explainer.module.requires_grad_(trained)
        assert relevance(explainer.module, layers["negative"], head, range(3), image) is None
        assert relevance(explainer.module, layers["second"], head, range(3), image) is not None
    explainer.module.requires_grad_(False)


def test_a_network_that_cannot_be_divided_into_layers_has_no_grid(
    explainer: Explainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **options: object) -> None:
        raise LayerError("no blocks were found")

    head = explainer.layers[-1]
    monkeypatch.setattr(regions, "choose_layers", fail)
    assert find_grid(explainer.network, head) is None


def test_pulls_need_a_layer_that_the_classifier_depends_on(index: Index) -> None:
    photograph = Photograph("it", picture(0))
    for chosen, message in (
        ("negative", "depends on none of the chosen layers"),
        ("head", "depends on none"),
    ):
        explainer = Explainer(index, tiny_network(), layers=(chosen,), device="cpu")
        with pytest.raises(LayerError, match=message):
            class_pulls(explainer, photograph, find_classes(explainer, "0,1"))


def test_pulls_of_a_file_that_is_no_photograph_are_refused(explainer: Explainer) -> None:
    with pytest.raises(SourceError, match="it cannot be used"):
        class_pulls(explainer, Photograph("it", b"no picture"), find_classes(explainer, "0,1"))


def test_classes_need_a_classifier(index: Index) -> None:
    class Open:
        layers = index.layers[:1]

    class Opened:
        index = Open

    with pytest.raises(UsageError, match=r"the last layer, first, has positions; index the classifier"):
        find_classes(Opened, "0,1")  # type: ignore[arg-type]


def test_a_key_of_several_images_is_refused(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "_BY_KEY", "SELECT image_id, shard FROM images WHERE $key = '0' LIMIT 2")
    with pytest.raises(UsageError, match=r"several images of .* have the key '0' \(shards tiny.*\)"):
        find_photograph(index, "0")


def test_an_address_is_no_key(index: Index) -> None:
    assert find_photograph(index, "https://host/a.jpg") is None


def test_a_file_without_or_with_too_many_bytes_is_refused(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(SourceError, match=r"a\.jpg is empty"):
        read_photograph(index, tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(b"12")
    monkeypatch.setattr(photographs, "MAX_BYTES", 1)
    with pytest.raises(UsageError, match=r"a\.jpg has 2 bytes, more than a photograph may have \(1\)"):
        read_photograph(index, tmp_path / "a.jpg")


def test_gradients_need_layers_that_run_and_pass_them_on(explainer: Explainer) -> None:
    layers = {layer.name: layer for layer in explainer.layers}
    batch = explainer.batch(decode(picture(0), explainer.network.preprocess))

    class Skips(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = explainer.module.first, explainer.module.second

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.first(images).detach()

    with pytest.raises(LayerError, match="second did not run in a forward pass"):
        forward_with_graph(Skips(), (layers["first"], layers["second"]), batch)
    with (
        pytest.raises(LayerError, match="no gradient flows through first"),
        torch.inference_mode(),
    ):
        forward_with_graph(explainer.module, (layers["first"],), batch.detach())
