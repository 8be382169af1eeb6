"""The decoder's direction as an objective: its gradient by hand, its text, and a rendering."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from pipeline.config import RunConfig
from pipeline.directions.find import find_directions
from pipeline.errors import RenderError
from pipeline.layers.choose import choose_layers
from pipeline.networks.extra_modules import add_directions
from pipeline.query.index import open_index
from pipeline.query.indexed_network import index_network
from pipeline.runs.run import run_index
from tests.fixtures.tiny import tiny_network, write_tars
from viz.objectives.dictionary_units import decoder
from viz.objectives.objective import direction, evaluate
from viz.objectives.text import parse_objective
from viz.passes.watch import Watch
from viz.recipes.catalog import get_recipe
from viz.render.render_index import render_index

CHANNELS, FEATURES = 5, 7


def tensors(*names: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes = {"W_enc": (CHANNELS, FEATURES), "W_dec": (FEATURES, CHANNELS), "b_dec": (CHANNELS,)}
    return {name: torch.randn(shapes.get(name, (FEATURES,)), generator=generator) for name in names}


@pytest.fixture
def built(tmp_path: Path):
    """The tiny network with dictionaries of its first layer, and layers by name."""
    found = tensors("W_enc", "b_enc", "W_dec")
    save_file(found, tmp_path / "sae.safetensors")
    save_file(tensors("W_enc", "b_enc"), tmp_path / "plain.safetensors")
    save_file({"rows": found["W_dec"].clone()}, tmp_path / "rows.safetensors")
    network = tiny_network()
    for name in ("sae", "plain", "rows"):
        add_directions(network.module, f"first={tmp_path / name}.safetensors")
    layers = {layer.name: layer for layer in choose_layers(network, ["first"])}
    return network, layers, found


@pytest.mark.parametrize("name", ["sae", "rows"])
def test_its_gradient_is_that_of_the_dot_product(built, name: str) -> None:
    network, layers, found = built
    objective = decoder(network.module, layers[f"first.{name}"], 4, 1, 2)
    encoded = replace(layers["first"], ordinal=layers[f"first.{name}"].ordinal)
    assert objective == direction(encoded, found["W_dec"][4].tolist(), 1, 2)
    pictures = torch.rand((1, 3, *network.input_shape[1:]), generator=torch.Generator().manual_seed(1)) * 255
    by_objective, by_hand = pictures.clone().requires_grad_(), pictures.clone().requires_grad_()
    with Watch(network, [layers["first"]], None) as watch:
        evaluate([objective], watch(by_objective)).sum().backward()
    seen: list[Tensor] = []
    handle = network.module.first.register_forward_hook(lambda _, inputs, output: seen.append(output.clone()))
    network.module(network.normalise(by_hand))
    handle.remove()
    (seen[0][0, :, 1, 2] @ found["W_dec"][4]).backward()
    assert by_objective.grad is not None
    assert float(by_objective.grad.abs().max()) > 0
    torch.testing.assert_close(by_objective.grad, by_hand.grad)


def test_text_becomes_the_objective(built) -> None:
    network, layers, _ = built
    layer, module = layers["first.sae"], network.module
    middle = (layer.grid_h - 1) // 2, (layer.grid_w - 1) // 2
    given = [*layers.values()]
    assert parse_objective("decoder", layer, given, module=module)(3) == decoder(module, layer, 3, *middle)
    assert parse_objective("-decoder@0,1", layer, module=module)(3) == -decoder(module, layer, 3, 0, 1)
    assert parse_objective("decoder:first.sae/5", layers["first"], given, module=module)(0) == decoder(
        module, layer, 5
    )


@pytest.mark.parametrize(
    ("layer", "text", "message"),
    [
        ("first", "decoder", "first is none; use point, or index with --dictionary"),
        ("first.plain", "decoder", r"the dictionary of first.plain has no decoder \(W_dec\); use point"),
        ("first.sae", "decoder:7", "has 7 units, numbered 0-6; got 7"),
        ("first.sae", "decoder@99,0", "grid, numbered from 0; got position"),
    ],
)
def test_what_has_no_decoder_is_refused(built, layer: str, text: str, message: str) -> None:
    network, layers, _ = built
    with pytest.raises(RenderError, match=message):
        parse_objective(text, layers[layer], module=network.module)(3)
    with pytest.raises(RenderError, match="needs the network"):
        parse_objective("decoder", layers[layer])


@pytest.mark.slow
def test_directions_that_were_found_are_rendered(tmp_path: Path) -> None:
    """`maxact directions` writes decoders too; what a rendering reaches is measured on its picture."""
    data = tuple(map(str, write_tars(tmp_path / "data", [12])))
    options = {"layers": ("first",), "compile": "off", "top": 3}
    run_index(RunConfig(data=data, out=tmp_path / "plain", **options), network=tiny_network())
    with open_index(tmp_path / "plain") as index:
        find_directions(index, "first", tmp_path / "pca.safetensors", n=3, network=tiny_network())
    network = tiny_network()
    add_directions(network.module, f"first={tmp_path / 'pca.safetensors'}")
    network = type(network).from_module(network.module, network.preprocess, name="tiny")
    run_index(RunConfig(data=data, out=tmp_path / "out", **options), network=network)
    with open_index(tmp_path / "out") as index:
        recipe = get_recipe("fourier", {"steps": "8"})
        (row,) = render_index(
            index, recipe, layers=["first.pca"], units=[1], objective="decoder", network=network
        )
        loaded = index_network(index, network=network)
        picture = np.asarray(Image.open(tmp_path / "out" / row.file).convert("RGB"))
        assert row.objective == "decoder"
        (layer,) = [layer for layer in index.layers if layer.name == "first.pca"]
        objective = decoder(loaded.module, layer, 1)
        assert np.isfinite(row.activation)
        assert picture.shape[2] == 3
        assert objective.terms[0].layer.name == "first"
