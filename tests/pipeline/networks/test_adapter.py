"""Networks whose call takes something else than one batch of images."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.config import RunConfig
from pipeline.errors import NetworkError
from pipeline.images.preprocess import Preprocess
from pipeline.layers.choose import choose_layers
from pipeline.layers.receptive_field_cache import architecture_key
from pipeline.networks.adapter import adapter_of, set_adapter
from pipeline.networks.network import Network, load_network
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from viz.passes.watch import Watch
from viz.recipes.catalog import get_recipe
from viz.render.render_index import render_index

pytestmark = pytest.mark.slow

FACTORIES = """
import torch
from torch import nn
from pipeline.images.preprocess import Preprocess

SMALL = Preprocess(24, 24, 24, mean=(127.0,) * 3, std=(60.0,) * 3)


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU())
        self.head = nn.Linear(6, 5)

    def run(self, batch, gain=1.0):
        return self.head((self.deep(self.stem(batch)) * gain).mean((2, 3)))


class OfList(Body):
    def forward(self, images):
        assert isinstance(images, list)
        return self.run(torch.stack(images))


class OfDict(Body):
    def forward(self, inputs, *, scale):
        return self.run(inputs["image"], scale)


class OfTwo(Body):
    def forward(self, image, clock):
        return self.run(image, 1 + clock[:, :1, None, None])


class Plain(Body):
    def forward(self, image):
        return self.run(image)


def of_list():
    return OfList(), SMALL, lambda batch: (([*batch],), {})


def of_dict():
    return OfDict(), lambda batch: (({"image": batch},), {"scale": 2.0}), SMALL


def of_two():
    return OfTwo(), SMALL, lambda batch: ((batch, batch.new_ones(len(batch), 2)), {})


def plain():
    return Plain(), SMALL


def without_preprocess():
    return Plain()


def wrong():
    return OfTwo(), SMALL, lambda batch: batch


def two_adapters():
    return OfTwo(), len, len
"""

GAINS = {"of_list": 1.0, "of_dict": 2.0, "of_two": 2.0}
"""What each factory's adapter makes of the deep layer, against the plain network."""


@pytest.fixture(scope="module")
def factories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("factories") / "adapted.py"
    path.write_text(FACTORIES)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for number in range(6):
        values = generator.integers(0, 40 * (number + 1), (30, 34, 3))
        Image.fromarray(values.astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def peaks(index_folder: Path, layer: str) -> dict[tuple[int, int], float]:
    with open_index(index_folder) as index:
        text = "SELECT unit, image_id, activation FROM top WHERE layer = $layer AND side = 'high'"
        return {(unit, image): value for unit, image, value in index.sql(text, layer=layer).rows}


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize(
    ("name", "compiled"),
    [*((name, "off") for name in GAINS), pytest.param("of_two", "on", marks=pytest.mark.slow)],
)
def test_an_adapted_network_is_indexed_as_its_body(
    name: str, compiled: str, factories: Path, folder: Path, tmp_path: Path
) -> None:
    found = {}
    for each in (name, "plain"):
        config = RunConfig(
            data=(str(folder),),
            out=tmp_path / each,
            network=f"{factories}:{each}",
            layers=("stem", "head"),
            top=6,
            batch_size=4,
            compile="off" if each == "plain" else compiled,  # type: ignore[arg-type]
        )
        run_index(config)
        found[each] = {layer: peaks(tmp_path / each, layer) for layer in ("stem", "head")}
    assert found[name]["stem"] == pytest.approx(found["plain"]["stem"], rel=1e-5, abs=1e-6)
    bias = load_network(f"{factories}:plain").module.head.bias.tolist()
    expected = {
        (unit, image): (value - bias[unit]) * GAINS[name] + bias[unit]
        for (unit, image), value in found["plain"]["head"].items()
    }
    assert len(expected) > 10
    assert found[name]["head"] == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", GAINS)
def test_an_adapted_network_renders(name: str, factories: Path, folder: Path, tmp_path: Path) -> None:
    config = RunConfig(data=(str(folder),), out=tmp_path / "out", network=f"{factories}:{name}", top=4)
    run_index(config)
    with open_index(tmp_path / "out") as index:
        recipe = get_recipe("fourier", {"steps": "4"})
        (row,) = render_index(index, recipe, layers=["deep.1"], units="0")
    assert np.isfinite(row.activation)
    assert (tmp_path / "out" / row.file).is_file()


def test_all_passes_use_the_adapter(factories: Path) -> None:
    network, plain = (load_network(f"{factories}:{name}") for name in ("of_two", "plain"))
    layers, of_plain = (choose_layers(each, ["deep.0"]) for each in (network, plain))
    assert layers == of_plain
    pictures = 255 * torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    with Watch(network, layers, None) as watch, Watch(plain, of_plain, None) as other:
        assert torch.equal(watch(pictures)["deep.0"].values, other(pictures)["deep.0"].values)
    # A copy, such as the one that is indexed, and a call of the user's own.
    batch = network.normalise(pictures)
    ones = torch.ones(2, 2)
    assert torch.equal(copy.deepcopy(network.module)(batch), network.module(batch, ones))


def test_a_wrong_adapter_is_told(factories: Path) -> None:
    network = load_network(f"{factories}:wrong")
    with pytest.raises(NetworkError, match="adapter of OfTwo returned Tensor, expected a pair"):
        choose_layers(network)
    with pytest.raises(NetworkError, match=r"returned \(OfTwo, builtin.*\), expected an nn.Module or an"):
        load_network(f"{factories}:two_adapters")


def test_a_factory_without_a_preprocess_says_what_is_used(factories: Path) -> None:
    (note,) = load_network(f"{factories}:without_preprocess").notes
    assert "returns no Preprocess, so that ImageNet's is used" in note
    assert "224x224 rgb pixels, from a short side of 256 (bilinear), mean 123.675" in note
    assert load_network(f"{factories}:plain").notes == ()


def test_an_adapter_is_replaced_and_removed() -> None:
    class Sum(nn.Module):
        def forward(self, first: Tensor, second: float = 0.0) -> Tensor:
            return first + second

    module = Sum()
    for second in (1.0, 2.0):
        network = Network.from_module(
            module, Preprocess(8, 8, 8), adapter=lambda batch, second=second: ((batch, second), {})
        )
        assert network.adapter is adapter_of(module)
        assert float(module(torch.zeros(1))) == second
    set_adapter(module, None)
    assert float(module(torch.zeros(1))) == 0.0


def test_cached_fields_depend_on_the_adapter(factories: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3))
    keys = [architecture_key(module, (3, 8, 8))]
    for adapter in (lambda batch: ((batch,), {}), load_network(f"{factories}:of_two").adapter):
        set_adapter(module, adapter)
        keys.append(architecture_key(module, (3, 8, 8)))
    assert len({*keys}) == 3
    assert None not in keys


class OfKeyword(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, image: Tensor, offset: Tensor) -> Tensor:
        values: Tensor = self.conv(image)
        return values + offset


@pytest.mark.parametrize("made", ["scripted", "exported"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_modules_without_hooks_inside_take_an_adapter(made: str) -> None:
    """TorchScript is run as a whole, an exported program with its modules."""
    module, image = OfKeyword().eval(), torch.rand(2, 3, 8, 8)
    if made == "scripted":
        given: Any = torch.jit.script(module)
    else:
        sizes = {"image": {0: torch.export.Dim("batch")}, "offset": {}}
        offset = {"offset": torch.ones(1)}
        given = torch.export.export(module, (image,), offset, dynamic_shapes=sizes)
    network = Network.from_module(
        given, Preprocess(8, 8, 8), adapter=lambda batch: ((batch,), {"offset": batch.new_ones(1)})
    )
    name = "output" if made == "scripted" else "conv"
    assert [layer.units for layer in choose_layers(network, [name])] == [4]
    with torch.no_grad():
        assert torch.allclose(network.module(image), module(image, torch.ones(1)), atol=1e-6)


def test_what_a_wrong_adapter_returned_is_shown() -> None:
    module = nn.Identity()
    for made, shown in (((torch.ones(1),), r"\(Tensor\)"), ({}, "dict"), (([1], [2]), r"\(list, list\)")):
        set_adapter(module, lambda batch, made=made: made)  # type: ignore[misc]
        with pytest.raises(NetworkError, match=f"the adapter of Identity returned {shown}, expected a pair"):
            module(torch.ones(1))


def test_hooks_of_others_stay_when_an_adapter_is_replaced() -> None:
    module, seen = nn.Identity(), []
    module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    set_adapter(module, lambda batch: ((batch,), {}))
    set_adapter(module, None)
    module(torch.ones(1))
    assert len(seen) == 1
    assert len(module._forward_pre_hooks) == 1
