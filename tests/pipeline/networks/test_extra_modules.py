"""Inputs of modules, heads of an attention and directions as layers."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.errors import LayerError, WeightsError
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer, unit_view
from pipeline.networks.extra_modules import add_directions, find_module
from pipeline.networks.network import Network
from pipeline.query.index import open_index
from tests.fixtures.modules import Encoder, Staged, Transformer, network
from tests.fixtures.tiny import write_tars


def outputs(net: Network, layers: tuple[Layer, ...], images: Tensor) -> dict[str, Tensor]:
    """Every layer's output (image, unit, y, x)."""
    seen: dict[str, Tensor] = {}
    handles = [
        find_module(net.module, layer.module).register_forward_hook(
            lambda _m, _i, output, layer=layer: seen.update({layer.name: unit_view(layer, output).clone()})
        )
        for layer in layers
    ]
    with torch.no_grad():
        net.module(images)
    for handle in handles:
        handle.remove()
    return seen


def images() -> Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_the_input_of_a_module() -> None:
    net = network(Staged())
    layers = choose_layers(net, ["stages.1.down.input", "stages.0"])
    seen = outputs(net, layers, images())
    assert torch.equal(seen["stages.1.down.input"], seen["stages.0"])
    assert [layer.name for layer in layers] == ["stages.0", "stages.1.down.input"]
    assert layers[0].box(3, 3) == layers[1].box(3, 3)


def test_a_layer_known_from_an_index_is_put_in_again() -> None:
    net = network(Staged())
    (layer,) = choose_layers(net, ["stages.1.down.input"])
    fresh = network(Staged())
    fresh.module.load_state_dict(net.module.state_dict())
    expected = outputs(net, (layer,), images())
    assert torch.equal(outputs(fresh, (layer,), images())[layer.name], expected[layer.name])
    assert find_module(fresh.module, layer.name) is find_module(fresh.module, layer.name)


def test_a_copy_of_a_tapped_network_shows_its_own_values() -> None:
    net = network(Staged())
    (layer,) = choose_layers(net, ["head.input"])
    other = Network.from_module(copy.deepcopy(net.module), net.preprocess)
    with torch.no_grad():
        other.module.stem.weight.mul_(2)
    mine, theirs = (outputs(each, (layer,), images())[layer.name] for each in (net, other))
    assert not torch.equal(mine, theirs)
    assert torch.equal(mine, outputs(net, (layer,), images())[layer.name])


def plain_heads(block: Encoder, tokens: Tensor) -> Tensor:
    """Attention head by head, as its definition says: (image, token, head * features)."""
    attention, width = block.attn, tokens.shape[-1]
    query, key, value = (
        tokens @ attention.in_proj_weight[part * width : (part + 1) * width].T
        + attention.in_proj_bias[part * width : (part + 1) * width]
        for part in range(3)
    )
    size = width // attention.num_heads
    heads = []
    for head in range(attention.num_heads):
        own = slice(head * size, (head + 1) * size)
        scores = query[..., own] @ key[..., own].transpose(1, 2) / size**0.5
        heads.append(scores.softmax(-1) @ value[..., own])
    return torch.cat(heads, -1)


def test_heads_of_torchs_attention() -> None:
    net = network(Transformer())
    with torch.no_grad():
        before = net.module(images())
    layers = choose_layers(net, ["blocks.0.norm", "blocks.0.attn.out_proj.input"])
    assert [(layer.kind, layer.prefix, layer.units) for layer in layers] == [("tokens", 2, 6)] * 2
    seen = outputs(net, layers, images())
    tokens: list[Tensor] = []
    handle = net.module.blocks[0].norm.register_forward_hook(lambda *a: tokens.append(a[2]))
    with torch.no_grad():
        after = net.module(images())
        expected = plain_heads(net.module.blocks[0], tokens[0])
    handle.remove()
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(
        seen["blocks.0.attn.out_proj.input"], expected[:, 2:].transpose(1, 2).reshape(2, 6, 4, 4)
    )


def test_hidden_neurons_of_a_transformer() -> None:
    (layer,) = choose_layers(network(Transformer()), ["blocks.1.up"])
    assert (layer.kind, layer.units, layer.prefix) == ("tokens", 18, 2)


def test_inputs_that_cannot_be_shown() -> None:
    net = network(Staged())
    with pytest.raises(LayerError, match="stages is a container; name the input of a module inside it"):
        find_module(net.module, "stages.input")
    with pytest.raises(LayerError, match=r"no layer 'stage\.input'"):
        find_module(net.module, "stage.input")
    attention = nn.ModuleDict({"attn": nn.MultiheadAttention(4, 2, add_zero_attn=True)})
    with pytest.raises(LayerError, match="not supported for an attention with separate projections"):
        find_module(attention, "attn.out_proj.input")


@pytest.fixture
def directions(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(2)
    rows = {
        "stages.0.blocks.1": torch.randn(5, 8, generator=generator),
        "stages": torch.randn(3, 16, generator=generator),
        "head": torch.randn(2, 5, generator=generator),
    }
    save_file(rows, tmp_path / "pca.v1.safetensors")
    return tmp_path / "pca.v1.safetensors"


def test_directions_are_layers_beside_those_they_read(directions: Path) -> None:
    net = network(Staged())
    plain = net.digest
    added = add_directions(net.module, directions)
    net = network(net.module)
    assert set(added) == {"stages.0.blocks.1.pca_v1", "stages.1.pca_v1", "head.pca_v1"}
    assert net.digest != plain
    layers = choose_layers(net)
    assert {layer.name: layer.units for layer in layers} == {
        "stages.0.blocks.0": 8,
        "stages.0.blocks.1.pca_v1": 5,
        "stages.0.blocks.1": 8,
        "stages.1.blocks.0": 16,
        "stages.1.pca_v1": 3,
        "head.pca_v1": 2,
        "head": 5,
    }
    seen, rows = outputs(net, layers, images()), net.module.state_dict()
    for name, read in (
        ("stages.0.blocks.1", "stages.0.blocks.1"),
        ("stages.1", "stages.1.blocks.0"),
        ("head", "head"),
    ):
        expected = torch.einsum("nchw,dc->ndhw", seen[read], rows[f"{name}.pca_v1.rows"])
        torch.testing.assert_close(seen[f"{name}.pca_v1"], expected)
    fields = {layer.name: (layer.rf_h, layer.stride_x, layer.start_y) for layer in layers}
    assert fields["stages.0.blocks.1.pca_v1"] == fields["stages.0.blocks.1"]


def test_directions_in_tokens_carry_gradients(tmp_path: Path) -> None:
    save_file({"anything": torch.eye(6)[:2] * 3}, tmp_path / "sae.safetensors")
    net = network(Transformer())
    assert add_directions(net.module, f"blocks.1={tmp_path / 'sae.safetensors'}") == ("blocks.1.sae",)
    layers = choose_layers(net, ["blocks.1", "blocks.1.sae"])
    assert [(layer.name, layer.units, layer.prefix) for layer in layers] == [
        ("blocks.1.sae", 2, 2),
        ("blocks.1", 6, 2),
    ]
    seen: list[Tensor] = []
    find_module(net.module, "blocks.1.sae").register_forward_hook(lambda *a: seen.append(a[2]))
    picture = images().requires_grad_()
    net.module(picture)
    seen[0].sum().backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0


def test_two_files_may_read_one_layer(tmp_path: Path) -> None:
    for name in ("first", "second"):
        save_file({"stem": torch.randn(2, 4)}, tmp_path / f"{name}.safetensors")
    net = network(Staged())
    for name in ("first", "second"):
        add_directions(net.module, tmp_path / f"{name}.safetensors")
    assert len(choose_layers(net, ["stem.*"])) == 2
    with pytest.raises(LayerError, match="layer stem has an attribute of that name; rename the file"):
        add_directions(net.module, tmp_path / "first.safetensors")


@pytest.mark.parametrize("layers", [[], ["--layers", "head"], ["--layers", "f*"], ["--layers", "**"]])
def test_directions_are_indexed_whatever_layers_are_chosen(tmp_path: Path, layers: list[str]) -> None:
    save_file({"first": torch.eye(5)[:2], "second": torch.eye(4)[:3]}, tmp_path / "sae.safetensors")
    words = ["tests.fixtures.tiny:factory", "--directions", str(tmp_path / "sae.safetensors"), *layers]
    listed = CliRunner().invoke(app, ["layers", *words, "--json"])
    assert {"first.sae", "second.sae"} <= {row["layer"] for row in json.loads(listed.stdout)}
    (data,), out = write_tars(tmp_path / "data", [6]), tmp_path / "out"
    given = ["index", str(data), "-o", str(out), "--compile", "off", "--network", *words]
    assert CliRunner().invoke(app, given).exit_code == 0
    with open_index(out) as index:
        units = {layer.name: layer.units for layer in index.layers}
        assert (units["first.sae"], units["second.sae"]) == (2, 3)
        assert ("head" in units) == (layers != ["--layers", "f*"])
        assert ("first" in units) == (layers in (["--layers", "f*"], ["--layers", "**"]))
        assert len(index.top("first.sae", 1, n=3)) == 3


def test_directions_on_a_layer_that_cannot_be_probed_are_refused(tmp_path: Path) -> None:
    save_file({"shared": torch.eye(4)}, tmp_path / "sae.safetensors")

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.head = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.shared(self.shared(x.repeat(1, 2, 1, 1)[:, :4])))

    net = network(Twice())
    add_directions(net.module, tmp_path / "sae.safetensors")
    for patterns in ([], ["head"]):
        with pytest.raises(LayerError, match=r"layer shared.sae cannot be probed: it runs 2 times"):
            choose_layers(net, patterns)


def test_directions_that_do_not_fit(tmp_path: Path) -> None:
    module = network(Staged()).module
    path = tmp_path / "d.safetensors"
    save_file({"nowhere": torch.zeros(2, 4)}, path)
    with pytest.raises(LayerError, match="the network has no layer 'nowhere'"):
        add_directions(module, path)
    save_file({"stem": torch.zeros(4)}, path)
    with pytest.raises(WeightsError, match=r"stem is \(4,\) torch.float32, expected a floating-point matrix"):
        add_directions(module, path)
    save_file({"a": torch.zeros(2, 4), "b": torch.zeros(2, 4)}, path)
    with pytest.raises(WeightsError, match=r"contain 2 tensors \(a, b\), expected one"):
        add_directions(module, f"stem={path}")
    save_file({"stem": torch.zeros(2, 9)}, path)
    add_directions(module, path)
    with pytest.raises(LayerError, match="directions have 9 columns"):
        choose_layers(network(module))
