"""Tokens, heads, queries, gates and attention patterns as layers, against their definitions."""

from __future__ import annotations

import copy
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.check.audit import check_index
from pipeline.config import RunConfig
from pipeline.errors import LayerError
from pipeline.images.decode import decode
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.extra_modules import find_module
from pipeline.networks.network import Network, load_network
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from pipeline.vision_libraries import timm, torchvision
from tests.fixtures.modules import Transformer, network
from tests.fixtures.tiny import write_tars
from tests.pipeline.networks.test_extra_modules import images, outputs
from viz.recipes.catalog import get_recipe
from viz.render.render_index import render_index


def timm_network(name: str, **options: Any) -> Network:
    torch.manual_seed(0)
    model = timm().create_model(name, pretrained=False, num_classes=3, **options).eval()
    return network(model, options["img_size"])


def small_vit(**options: Any) -> Network:
    return timm_network(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=12, depth=2, num_heads=3, **options
    )


def kept(net: Network, names: Sequence[str], pixels: Tensor) -> dict[str, Tensor]:
    """First tensor of the outputs of plain modules, by plain hooks."""
    found: dict[str, Tensor] = {}

    def hook(name: str) -> Any:
        def keep(module: Any, inputs: Any, output: Any) -> None:
            found[name] = (output[0] if isinstance(output, tuple) else output).clone()

        return keep

    handles = [net.module.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    with torch.no_grad():
        net.module(pixels)
    for handle in handles:
        handle.remove()
    return found


def as_view(tokens: Tensor, layer: Layer) -> Tensor:
    """(image, unit, y, x) of (image, token, unit)."""
    return tokens[:, layer.prefix :].transpose(1, 2).reshape(len(tokens), -1, layer.grid_h, layer.grid_w)


def weights_by_definition(queries: Tensor, keys: Tensor, heads: int) -> Tensor:
    """(image, head, query, key), head by head."""
    size = queries.shape[-1] // heads
    found = []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        found.append((queries[..., own] @ keys[..., own].transpose(1, 2) / size**0.5).softmax(-1))
    return torch.stack(found, 1)


def pixels_of(net: Network) -> Tensor:
    side = net.preprocess.height
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_tokens_queries_heads_and_patterns_of_timm() -> None:
    net = small_vit(class_token=True, reg_tokens=2)
    pixels, plain = pixels_of(net), copy.deepcopy(net)
    with torch.no_grad():
        before = net.module(pixels)
    attn = "blocks.1.attn"
    names = ["blocks.1.cls", "blocks.0.register1", "blocks.1.token3", f"{attn}.qkv.q", f"{attn}.qkv.v.head2"]
    names += [f"{attn}.proj.input.head1", f"{attn}.from_cls", f"{attn}.from_all"]
    layers = {layer.name: layer for layer in choose_layers(net, names)}
    assert {name: (layer.kind, layer.units) for name, layer in layers.items()} == {
        "blocks.0.register1": ("vector", 12),
        "blocks.1.cls": ("vector", 12),
        "blocks.1.token3": ("vector", 12),
        f"{attn}.qkv.q": ("tokens", 12),
        f"{attn}.qkv.v.head2": ("tokens", 4),
        f"{attn}.proj.input.head1": ("tokens", 4),
        f"{attn}.from_cls": ("tokens", 3),
        f"{attn}.from_all": ("tokens", 3),
    }
    assert all(layer.prefix == 3 for layer in layers.values() if layer.kind == "tokens")
    seen = outputs(net, tuple(layers.values()), pixels)
    wanted = kept(plain, ["blocks.0", "blocks.1", f"{attn}.qkv"], pixels)
    close = {"rtol": 1e-4, "atol": 1e-6}  # attention that is not fused adds in another order
    assert torch.equal(seen["blocks.0.register1"][..., 0, 0], wanted["blocks.0"][:, 2])
    torch.testing.assert_close(seen["blocks.1.cls"][..., 0, 0], wanted["blocks.1"][:, 0], **close)
    torch.testing.assert_close(seen["blocks.1.token3"][..., 0, 0], wanted["blocks.1"][:, 3], **close)
    queries, keys, values = wanted[f"{attn}.qkv"].split(12, -1)
    grid = layers[f"{attn}.qkv.q"]
    assert torch.equal(seen[f"{attn}.qkv.q"], as_view(queries, grid))
    assert torch.equal(seen[f"{attn}.qkv.v.head2"], as_view(values[..., 8:], grid))
    weights = weights_by_definition(queries, keys, 3)
    heads = weights[:, 1] @ values[..., 4:8]
    torch.testing.assert_close(seen[f"{attn}.proj.input.head1"], as_view(heads, grid), **close)
    torch.testing.assert_close(
        seen[f"{attn}.from_cls"], as_view(weights[:, :, 0].transpose(1, 2), grid), **close
    )
    torch.testing.assert_close(
        seen[f"{attn}.from_all"], as_view(weights.mean(2).transpose(1, 2), grid), **close
    )
    assert net.module.blocks[0].attn.fused_attn == plain.module.blocks[0].attn.fused_attn
    assert not net.module.blocks[1].attn.fused_attn
    with torch.no_grad():
        torch.testing.assert_close(net.module(pixels), before)


def test_a_copy_shows_its_own_pattern() -> None:
    net = small_vit()
    (layer,) = choose_layers(net, ["blocks.0.attn.from_all"])
    other = Network.from_module(copy.deepcopy(net.module), net.preprocess)
    with torch.no_grad():
        other.module.blocks[0].attn.qkv.weight.mul_(5)
    pixels = pixels_of(net)
    mine, theirs = (outputs(each, (layer,), pixels)[layer.name] for each in (net, other))
    assert not torch.allclose(mine, theirs)
    assert torch.equal(mine, outputs(net, (layer,), pixels)[layer.name])


def test_globs_name_one_component() -> None:
    net = small_vit(class_token=True, reg_tokens=2)
    found = [layer.name for layer in choose_layers(net, ["blocks.*.cls"], receptive_fields=False)]
    assert found == ["blocks.0.cls", "blocks.1.cls"]
    found = [layer.name for layer in choose_layers(net, ["blocks.1.register*"], receptive_fields=False)]
    assert found == ["blocks.1.register0", "blocks.1.register1"]
    heads = choose_layers(net, ["blocks.*.attn.proj.input.head*"], receptive_fields=False)
    assert [layer.name for layer in heads] == [
        f"blocks.{block}.attn.proj.input.head{head}" for block in range(2) for head in range(3)
    ]
    found = [layer.name for layer in choose_layers(net, ["blocks.*.input"], receptive_fields=False)]
    assert found == ["blocks.0.input", "blocks.1.input"]
    inside = choose_layers(net, ["*.mlp.fc1.input"], receptive_fields=False)
    assert [layer.name for layer in inside] == ["blocks.0.mlp.fc1.input", "blocks.1.mlp.fc1.input"]


def test_a_glob_takes_what_has_the_part() -> None:
    net = small_vit()
    found = [layer.name for layer in choose_layers(net, ["**.cls"], receptive_fields=False)]
    assert {"blocks.0.cls", "blocks.1.attn.qkv.cls", "norm.cls"} <= {*found}
    assert "patch_embed.proj.cls" not in found, "a map"
    with torch.no_grad():
        net.module(pixels_of(net))
    with pytest.raises(LayerError, match=r"no layer matches 'blocks\.0\.token"):
        choose_layers(net, ["blocks.0.token*"], receptive_fields=False)


def test_gate_and_value_of_a_gated_mlp() -> None:
    separate = timm().layers.SwiGLU(3, 8)
    assert {"fc1_g", "fc1_x"} <= dict(separate.named_children()).keys(), "they are modules of their own"
    eva = timm_network("eva02_tiny_patch14_224", img_size=28, embed_dim=16, depth=1, num_heads=2)
    seen = outputs(
        eva,
        choose_layers(eva, [f"blocks.0.mlp.{part}" for part in ("fc1.gate", "fc1.value", "norm.input")]),
        pixels_of(eva),
    )
    gate, value, neurons = (seen[f"blocks.0.mlp.{part}"] for part in ("fc1.gate", "fc1.value", "norm.input"))
    torch.testing.assert_close(neurons, torch.nn.functional.silu(gate) * value)
    mlp_of = timm().layers.GluMlp

    class Gated(nn.Module):
        def __init__(self, gate_last: bool) -> None:
            super().__init__()
            self.mlp = mlp_of(3, 8, gate_last=gate_last)

        def forward(self, pixels: Tensor) -> Tensor:
            return self.mlp(pixels.flatten(2).transpose(1, 2))

    for gate_last in (True, False):
        gated = network(Gated(gate_last))
        seen = outputs(
            gated, choose_layers(gated, ["mlp.fc1.gate", "mlp.fc1.value", "mlp.fc2.input"]), images()
        )
        gate, value = (seen[f"mlp.fc1.{part}"] for part in ("gate", "value"))
        torch.testing.assert_close(seen["mlp.fc2.input"], torch.sigmoid(gate) * value)


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "beit_base_patch16_224"])
def test_queries_of_an_attention_that_does_not_run_its_projection(name: str) -> None:
    side = 28 if name.startswith("eva") else 32
    net = timm_network(name, img_size=side, embed_dim=16, depth=1, num_heads=2)
    attn = net.module.blocks[0].attn
    with torch.no_grad():
        for bias in (attn.q_bias, attn.v_bias):
            bias.copy_(torch.randn(16))
    pixels, plain = pixels_of(net), copy.deepcopy(net)
    layers = choose_layers(net, [f"blocks.0.attn.qkv.{part}" for part in ("[qv]", "k.head1")])
    assert len(layers) == 3
    seen = outputs(net, layers, pixels)
    tokens = kept(plain, ["blocks.0.norm1"], pixels)["blocks.0.norm1"]
    queries, keys, values = (tokens @ part.T for part in attn.qkv.weight.detach().chunk(3))
    wanted = {"q": queries + attn.q_bias, "k.head1": keys[..., 8:], "v": values + attn.v_bias}
    for layer in layers:
        expected = as_view(wanted[layer.name.partition("qkv.")[2]], layer)
        torch.testing.assert_close(seen[layer.name], expected.detach(), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(net.module(pixels), plain.module(pixels))
    assert net.module.state_dict().keys() == plain.module.state_dict().keys()


@pytest.mark.parametrize(
    "name", ["eva02_tiny_patch14_224", "vit_small_patch16_dinov3", "eva02_base_patch14_224"]
)
def test_rotated_queries_and_keys_of_timm(name: str) -> None:
    side = 32 if "dinov3" in name else 28
    net = timm_network(name, img_size=side, embed_dim=16, depth=2, num_heads=2)
    attention, pixels = "blocks.1.attn", pixels_of(net)
    layers = choose_layers(
        net, [f"{attention}.{part}" for part in ("q_rot", "k_rot", "from_all", "k_rot.head1")]
    )
    seen = outputs(net, layers, pixels)
    found: dict[str, Tensor] = {}
    owner: Any = net.module.get_submodule(attention)
    owner.attn_drop.register_forward_pre_hook(lambda _m, inputs: found.update(weights=inputs[0].clone()))
    whole = {f"{attention}.{part}": found for part in ("q_rot", "k_rot")}
    rotated = kept(net, list(whole), pixels)
    weights = weights_by_definition(rotated[f"{attention}.q_rot"], rotated[f"{attention}.k_rot"], 2)
    torch.testing.assert_close(weights, found["weights"], rtol=1e-4, atol=1e-6)
    for layer in layers:
        if "_rot" in layer.name:
            part = rotated[layer.name.removesuffix(".head1")]
            assert torch.equal(
                seen[layer.name], as_view(part[..., 8 if "head" in layer.name else 0 :], layer)
            )


def test_patterns_of_single_tokens() -> None:
    net = small_vit(class_token=True, reg_tokens=2)
    attention, pixels = "blocks.1.attn", pixels_of(net)
    layers = choose_layers(net, [f"{attention}.from_register*", f"{attention}.from_token7"])
    assert [layer.name.rpartition(".")[2] for layer in layers] == [
        "from_register0",
        "from_register1",
        "from_token7",
    ]
    seen = outputs(net, layers, pixels)
    queries, keys, _ = kept(net, [f"{attention}.qkv"], pixels)[f"{attention}.qkv"].split(12, -1)
    weights = weights_by_definition(queries, keys, 3)
    for layer, query in zip(layers, (1, 2, 7), strict=True):
        torch.testing.assert_close(
            seen[layer.name], as_view(weights[:, :, query].transpose(1, 2), layer), rtol=1e-4, atol=1e-6
        )
    for last, message in (("from_token99", "of that token"), ("from_register2", "has 2 register tokens")):
        with pytest.raises(LayerError, match=message):
            choose_layers(small_vit(class_token=True, reg_tokens=2), [f"{attention}.{last}"])


class Branches(nn.Module):
    """Outputs two token sequences, the second one with a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token_1 = nn.Parameter(torch.ones(1, 1, 4))
        self.fine, self.coarse = nn.Conv2d(3, 6, 2, 2), nn.Conv2d(3, 4, 4, 4)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        fine, coarse = (part(pixels).flatten(2).transpose(1, 2) for part in (self.fine, self.coarse))
        return {"fine": fine, "coarse": torch.cat([self.cls_token_1.expand(len(coarse), -1, -1), coarse], 1)}


class Branched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stage, self.head = Branches(), nn.Linear(4, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.stage(pixels)["coarse"].mean(1))


def test_a_token_of_one_of_several_outputs() -> None:
    net = network(Branched())
    layers = choose_layers(
        net, ["stage:coarse.cls", "stage:coarse.token3", "stage:fine.token3", "stage:coarse"]
    )
    tokens = ["stage.output0.token3", "stage.output1.cls", "stage.output1.token3"]
    assert sorted(layer.name for layer in layers) == [*tokens, "stage:coarse"]
    seen = outputs(net, layers, images())
    with torch.no_grad():
        whole = net.module.stage(images())
    assert torch.equal(seen["stage.output1.cls"][..., 0, 0], whole["coarse"][:, 0])
    assert torch.equal(seen["stage.output1.token3"][..., 0, 0], whole["coarse"][:, 3])
    assert torch.equal(seen["stage.output0.token3"][..., 0, 0], whole["fine"][:, 3])
    with pytest.raises(LayerError, match="has no tensor 5 beside others"):
        choose_layers(network(Branched()), ["stage.output5"])
    with pytest.raises(LayerError, match="no layer 'stage:thin'"):
        choose_layers(network(Branched()), ["stage:thin.cls"])


def test_class_token_that_joins_late() -> None:
    net = timm_network("cait_xxs24_224", img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)
    for name in ("blocks.0.cls", "blocks.0.attn.from_cls"):
        with pytest.raises(LayerError, match=r"the 16 tokens of .* are a grid without it"):
            choose_layers(net, [name], receptive_fields=False)
    found = choose_layers(net, ["blocks*.0.cls", "blocks*.0.attn.from_*"], receptive_fields=False)
    assert [layer.name for layer in found] == [
        "blocks.0.attn.from_all",
        "blocks_token_only.0.attn.from_cls",
        "blocks_token_only.0.attn.from_all",
        "blocks_token_only.0.cls",
    ]
    assert [layer.prefix for layer in found] == [0, 1, 1, 0]


def test_queries_and_patterns_of_torchs_attention() -> None:
    net = network(Transformer())
    names = ["blocks.0.norm", *(f"blocks.0.attn.{part}" for part in ("q", "k", "from_all"))]
    layers = choose_layers(net, names)
    seen = outputs(net, layers, images())
    block, grid = net.module.blocks[0], layers[0]
    tokens = kept(net, ["blocks.0.norm"], images())["blocks.0.norm"]
    queries, keys, _ = (tokens @ block.attn.in_proj_weight.T + block.attn.in_proj_bias).split(6, -1)
    torch.testing.assert_close(seen["blocks.0.attn.q"], as_view(queries, grid))
    torch.testing.assert_close(seen["blocks.0.attn.k"], as_view(keys, grid))
    weights = weights_by_definition(queries, keys, 2).mean(2).transpose(1, 2)
    torch.testing.assert_close(seen["blocks.0.attn.from_all"], as_view(weights, grid))


HUGGINGFACE = {
    "vit": ("vit.layers.1", "attention", "q_proj", "k_proj"),
    "dinov2_registers": ("encoder.layer.1", "attention", "q_proj", "k_proj"),
    "dinov3": ("model.layer.1", "attention", "q_rot", "k_rot"),
    "clip": ("encoder.layers.1", "self_attn", "q_proj", "k_proj"),
}


@pytest.mark.parametrize("family", HUGGINGFACE)
def test_tokens_and_patterns_of_transformers(family: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra `hf` (transformers)")
    from tests.fixtures.huggingface import save_model

    block, attention, query, key = HUGGINGFACE[family]
    save_model(family, tmp_path)
    net, plain = (load_network(f"hf:{tmp_path}") for _ in range(2))
    owner = f"{block}.{attention}"
    names = [f"{block}.cls", f"{owner}.from_cls", f"{owner}.from_all"]
    names += [f"{block}.register3"] if family.startswith("dino") else []
    layers = {layer.name: layer for layer in choose_layers(net, names)}
    pixels = pixels_of(net)
    seen = outputs(net, tuple(layers.values()), pixels)
    for last in (query, key):
        find_module(plain.module, f"{owner}.{last}")
    wanted = kept(plain, [block, f"{owner}.{query}", f"{owner}.{key}"], pixels)
    assert torch.allclose(seen[f"{block}.cls"][..., 0, 0], wanted[block][:, 0], atol=1e-5)
    if family.startswith("dino"):
        assert torch.allclose(seen[f"{block}.register3"][..., 0, 0], wanted[block][:, 4], atol=1e-5)
    weights = weights_by_definition(wanted[f"{owner}.{query}"], wanted[f"{owner}.{key}"], 2)
    for name, expected in (("from_cls", weights[:, :, 0]), ("from_all", weights.mean(2))):
        layer = layers[f"{owner}.{name}"]
        torch.testing.assert_close(
            seen[layer.name], as_view(expected.transpose(1, 2), layer), rtol=1e-4, atol=1e-6
        )
    other = block.replace("1", "0")
    assert net.module.get_submodule(other) is not None
    config = net.module.get_submodule(f"{other}.{attention}").config
    assert config._attn_implementation != "eager", "only the attention that is asked for"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blocks.0.register0", "has 0 register tokens"),
        ("blocks.0.mlp.fc1.q", "is no projection to queries, keys and values together"),
        ("blocks.0.attn.proj.input.head3", "its attention has 3 heads"),
        ("blocks.0.mlp.head0", "it is in no attention"),
        ("blocks.0.mlp.from_all", "is no attention of timm, transformers or torch"),
        ("blocks.0.token99", r"it is not in the output of blocks.0, of shape \(17, 12\)"),
        ("blocks.0.attn.head1", "is not divided into heads; .* as in blocks.0.attn.proj.input.head1"),
        ("blocks.0.attn.qkv.head1", "is not divided into heads"),
        ("blocks.0.attn.qkv.input.head1", "is not divided into heads"),
        ("blocks.0.attn.q_rot", "is no attention with rotary positions"),
        ("blocks.0.attn.gate", "is no projection to gate and value together"),
        ("blocks.0.mlp.fc1.gate", "is no projection to gate and value together"),
        ("blocks.cls", "is a container; name a module inside it"),
        ("block.0.cls", "the network has no layer 'block.0'"),
    ],
)
def test_parts_that_are_not_there(name: str, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        choose_layers(small_vit(), [name], receptive_fields=False)


def test_a_network_without_class_token() -> None:
    net = small_vit(class_token=False, global_pool="avg")
    for name in ("blocks.0.cls", "blocks.0.attn.from_cls"):
        with pytest.raises(LayerError, match="the network has no class token"):
            choose_layers(net, [name], receptive_fields=False)
    (layer,) = choose_layers(net, ["blocks.0.attn.from_all"], receptive_fields=False)
    assert (layer.prefix, layer.grid_h) == (0, 4)


@pytest.mark.slow
def test_they_are_indexed_and_rendered(tmp_path: Path) -> None:
    net = small_vit()
    names = ("blocks.0.attn.qkv.k.head1", "blocks.0.attn.from_cls", "blocks.1.cls")
    tars = write_tars(tmp_path / "data", [8])
    config = RunConfig(data=(str(tars[0]),), out=tmp_path / "out", layers=names, top=3, compile="off")
    run_index(config, network=net)
    fresh, plain = small_vit(), small_vit()
    with tarfile.open(tars[0]) as tar:
        members = {member.name: tar.extractfile(member) for member in tar if not member.name.endswith("cls")}
        files = {name: file.read() for name, file in members.items() if file is not None}
    batch = plain.normalise(torch.stack([decode(file, plain.preprocess) for file in files.values()]))
    wanted = kept(plain, ["blocks.0.attn.qkv", "blocks.1"], batch)
    queries, keys, _ = wanted["blocks.0.attn.qkv"].split(12, -1)
    looked = weights_by_definition(queries, keys, 3)[:, 0, 0, 1:]
    expected = [keys[:, 1:, 4].amax(1), looked.amax(1), wanted["blocks.1"][:, 0, 0]]
    with open_index(tmp_path / "out") as index:
        assert [layer.name for layer in index.layers] == list(names)
        rows = render_index(index, get_recipe("fourier", {"steps": "2"}), units="1", network=fresh)
        for layer, peaks in zip(index.layers, expected, strict=True):
            find_module(fresh.module, layer.name)
            recorded = [image.activation for image in index.top(layer.name, 0, n=3)]
            assert recorded == pytest.approx(
                peaks.sort(descending=True).values[:3].tolist(), rel=1e-4, abs=1e-6
            )
    check = check_index(tmp_path / "out", sample=None, network=small_vit())
    assert check.discrepancies == ()
    assert [row.layer for row in rows] == list(names)
    assert all(np.isfinite(row.activation) for row in rows)


class WithDetections(Transformer):
    """A class token, a 4 x 4 grid of tokens, and five tokens after it."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, 6))
        self.detection_tokens = nn.Parameter(torch.randn(1, 5, 6))

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.embed(pixels).flatten(2).transpose(1, 2)
        first, last = (part.expand(len(tokens), -1, -1) for part in (self.cls_token, self.detection_tokens))
        tokens = torch.cat([first, tokens, last], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens[:, -5:].mean(1))


def test_tokens_after_the_grid() -> None:
    net = network(WithDetections())
    plain = copy.deepcopy(net)
    names = ["blocks.0.down", "blocks.0.down.cls", "blocks.0.down.suffix*", "blocks.0.attn.from_cls"]
    layers = {layer.name: layer for layer in choose_layers(net, names)}
    grid = layers["blocks.0.down"]
    assert (grid.prefix, grid.grid_h, grid.grid_w, grid.positions) == (1, 4, 4, "grid")
    assert layers["blocks.0.attn.from_cls"].grid_h == 4
    seen = outputs(net, tuple(layers.values()), images())
    tokens = kept(plain, ["blocks.0.down"], images())["blocks.0.down"]
    between = tokens[:, 1:17].transpose(1, 2).reshape(len(tokens), 6, 4, 4)
    torch.testing.assert_close(seen["blocks.0.down"], between)
    for number in range(5):
        torch.testing.assert_close(seen[f"blocks.0.down.suffix{number}"][..., 0, 0], tokens[:, 17 + number])
    with pytest.raises(LayerError, match="has 5 tokens after the grid"):
        choose_layers(net, ["blocks.0.down.suffix5"], receptive_fields=False)


def documented(column: int) -> list[str]:
    """The names in a column of the table in docs/networks.md, for the second block and third head.

    Those of another family than the column's, which is named behind them, are left out.
    """
    text = (Path(__file__).parents[3] / "docs" / "networks.md").read_text(encoding="utf-8")
    table = text.partition("<!-- parts -->")[2].partition("<!-- /parts -->")[0].strip().splitlines()[2:]
    cells = [re.fullmatch("`([^`]+)`", row.split("|")[column + 1].strip()) for row in table]
    return [re.sub(r"([._])3\b", r"\g<1>1", cell[1]) for cell in cells if cell]


def test_documented_names_are_those_of_timm_and_torchvision() -> None:
    transformer = torchvision().models.VisionTransformer

    net = small_vit(reg_tokens=1)
    assert len(choose_layers(net, documented(1), receptive_fields=False)) == len(documented(1)) == 16
    tower = transformer(32, 8, 2, 3, 12, 24, num_classes=3).eval()
    found = choose_layers(network(tower, 32), documented(4), receptive_fields=False)
    assert len(found) == len(documented(4))


@pytest.mark.parametrize(("family", "column"), [("vit", 2), ("clip", 3)])
def test_documented_names_are_those_of_transformers(family: str, column: int, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra `hf` (transformers)")
    from tests.fixtures.huggingface import save_model

    save_model(family, tmp_path)
    names = [name.replace("head2", "head1") for name in documented(column)]
    found = choose_layers(load_network(f"hf:{tmp_path}"), names, receptive_fields=False)
    assert len(found) == len(names) == 15
