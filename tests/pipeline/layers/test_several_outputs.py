"""Modules with several tensors in their output, and modules that run several times in a pass."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.config import RunConfig
from pipeline.errors import LayerError
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.addresses import Address, RunCounter, find_tensor, output_tensors, parse_address
from pipeline.networks.network import Network, load_network
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from pipeline.stream.probes import Peaks, Probes
from tests.fixtures.modules import network
from viz.recipes.catalog import get_recipe
from viz.render.render_index import render_index

pytestmark = pytest.mark.slow


class Named(NamedTuple):
    grid: Tensor
    rest: tuple[Tensor, None]


@dataclass
class Record:
    grid: Tensor
    nothing: None
    nested: dict[str, list[Tensor]]


def wrap(form: str, fine: Tensor, coarse: Tensor) -> Any:
    return {
        "tuple": (fine, coarse),
        "list": [None, fine, coarse],
        "dict": {"fine": fine, "coarse": coarse},
        "ordered": OrderedDict(fine=fine, none=None, coarse=coarse),
        "named": Named(fine, (coarse, None)),
        "record": Record(fine, None, {"deep": [coarse]}),
    }[form]


PLACES = {
    "tuple": ("0", "1"),
    "list": ("1", "2"),
    "dict": ("fine", "coarse"),
    "ordered": ("fine", "coarse"),
    "named": ("grid", "rest.0"),
    "record": ("grid", "nested.deep.0"),
}


class Branches(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.fine, self.coarse = nn.Conv2d(3, 5, 3, 1, 1), nn.Conv2d(3, 7, 4, 4)

    def forward(self, images: Tensor) -> Any:
        return wrap(self.form, self.fine(images), self.coarse(images))


class Branched(nn.Module):
    """A stage with two branches, and a projection that runs three times."""

    def __init__(self, form: str = "tuple") -> None:
        super().__init__()
        self.stage = Branches(form)
        self.again = nn.Conv2d(5, 5, 3, padding=1)
        self.head = nn.Linear(12, 4)

    def forward(self, images: Tensor) -> Tensor:
        fine, coarse = (tensor for _, tensor in output_tensors(self.stage(images)))
        for _ in range(3):
            fine = self.again(fine).relu()
        return self.head(torch.cat([fine.mean((2, 3)), coarse.mean((2, 3))], 1))


def peaks_of(built: Network, layers: tuple[Layer, ...], images: Tensor) -> list[Tensor]:
    found: dict[int, Tensor] = {}

    def watch(index: int, peaks: Peaks) -> None:
        found[index] = peaks.values.clone()

    with Probes(built.module, layers, watch) as probes:
        for _ in range(2):  # a second pass counts runs from 1 again
            found.clear()
            probes(images)
    return [found[index] for index in range(len(layers))]


@pytest.mark.parametrize("form", PLACES)
def test_each_tensor_is_a_layer(form: str) -> None:
    built = network(Branched(form))
    places = PLACES[form]
    names = [f"stage:{place}" for place in places]
    layers = choose_layers(built, names)
    assert [(layer.name, layer.module, layer.units, layer.grid_h) for layer in layers] == [
        (names[0], "stage", 5, 16),
        (names[1], "stage", 7, 4),
    ]
    assert [(layer.rf_h, layer.stride_y) for layer in layers] == [(3, 1), (4, 4)]
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = [
            part(images).amax((2, 3)) for part in (built.module.stage.fine, built.module.stage.coarse)
        ]
    for found, wanted in zip(peaks_of(built, layers, images), expected, strict=True):
        assert torch.equal(found, wanted)


def test_the_plain_name_is_the_first_tensor_and_globs_take_all_maps() -> None:
    built = network(Branched())
    assert [layer.units for layer in choose_layers(built, ["stage"])] == [5]
    assert [layer.name for layer in choose_layers(built, ["st*ge"])] == ["stage:0", "stage:1"]
    assert [layer.name for layer in choose_layers(built, ["stage:*"])] == ["stage:0", "stage:1"]
    assert [layer.name for layer in choose_layers(built, ["stage:1", "stage@last:0"])] == [
        "stage:0",
        "stage:1",
    ]


def test_each_run_is_a_layer() -> None:
    built = network(Branched())
    layers = choose_layers(built, ["again@1", "again@2", "again@last"])
    assert [layer.name for layer in layers] == ["again@1", "again@2", "again@3"]
    assert [layer.name for layer in choose_layers(built, ["again@*", "head@1"])] == [
        "again@1", "again@2", "again@3", "head",
    ]  # fmt: skip
    assert [layer.rf_h for layer in layers] == [5, 7, 9]
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    values, expected = built.module.stage.fine(images), []
    for _ in range(3):
        values = built.module.again(values)
        expected.append(values.amax((2, 3)))
        values = values.relu()
    for found, wanted in zip(peaks_of(built, layers, images), expected, strict=True):
        assert torch.allclose(found, wanted)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("again", "runs 3 times in one pass; choose again@1, ..., again@3 or again@last"),
        ("again@4", r"no layer matches 'again@4'; did you mean .*again@"),
        ("stage:2", r"no layer matches 'stage:2'; did you mean 'stage:1'"),
        ("head:0", "no layer matches 'head:0'"),
    ],
)
def test_what_does_not_exist_is_named(name: str, reason: str) -> None:
    with pytest.raises(LayerError, match=reason):
        choose_layers(network(Branched()), [name])


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.spectrum = nn.Conv2d(3, 4, 3), nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.spectrum(torch.fft.fft2(self.conv(images))).abs().mean((2, 3))


def test_complex_outputs_are_refused_in_one_line() -> None:
    with pytest.raises(
        LayerError, match=r"spectrum cannot be probed: it outputs torch.complex64; add a module"
    ):
        choose_layers(network(Complex()), ["spectrum"])


def test_they_are_indexed_and_rendered(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / f"{number}.png")
    built = network(Branched("dict"))
    names = ("stage:fine", "stage:coarse", "again@2")
    config = RunConfig(data=tmp_path / "data", out=tmp_path / "out", layers=names, top=3, compile="off")
    run_index(config, network=built)
    with open_index(tmp_path / "out") as index:
        assert tuple(layer.name for layer in index.layers) == names
        assert index.sql("SELECT count(*) FROM top WHERE layer = 'stage:coarse'").rows[0][0] > 0
        recipe = get_recipe("fourier", {"steps": "4"})
        rows = render_index(index, recipe, layers=list(names), units="0", network=built)
    assert [row.layer for row in rows] == list(names)
    for row in rows:
        with Image.open(tmp_path / "out" / row.file) as picture:
            assert picture.size == (row.width, row.height)
        assert np.isfinite(row.activation)


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("timm:hrnet_w18_small", 64, ["stage2.0:0", "stage2.0:1", "stage4.0:3"]),
        ("timm:crossvit_tiny_240", 240, ["blocks.0:0", "blocks.0:1", "blocks.2:1"]),
    ],
)
def test_parallel_branches_are_listed(name: str, size: int, expected: list[str]) -> None:
    built = load_network(name, weights="random", input=[f"size={size}"])
    names = [layer.name for layer in choose_layers(built, receptive_fields=False)]
    assert set(expected) <= set(names)


def test_addresses() -> None:
    for text, address in {
        "a.b": Address("a.b"),
        "a.b:0": Address("a.b", 0, "0"),
        "a@2": Address("a", 2),
        "a@12:key.0": Address("a", 12, "key.0"),
        "a@last": Address("a@last"),
        "a@b@1": Address("a@b@1"),
    }.items():
        assert parse_address(text) == address
        assert str(address) == text
    assert find_tensor({"a": None, "b": (1, "x")}) is None
    runs = RunCounter()
    assert [runs.is_meant("a", 2) for _ in range(3)] == [False, True, False]
    runs.clear()
    assert [runs.is_meant("a", 0), runs.is_meant("a", 1)] == [True, True]
