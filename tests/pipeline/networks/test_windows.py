"""Windowed attention as layers: parts and patterns are joined to maps, against their definitions."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.errors import LayerError
from pipeline.layers.choose import choose_layers
from pipeline.networks.network import Network, load_network
from pipeline.networks.windows import Windows
from pipeline.vision_libraries import timm, torchvision
from tests.fixtures.modules import network
from tests.pipeline.networks.test_extra_modules import outputs
from tests.pipeline.networks.test_parts import kept, pixels_of

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    shift=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    padded_first=st.booleans(),
)
def test_joining_undoes_splitting(
    rows: int, columns: int, size: tuple[int, int], shift: tuple[int, int], padded_first: bool
) -> None:
    windows = Windows(rows, columns, size, shift, padded_first=padded_first)
    grid = torch.arange(2.0 * rows * columns).view(2, rows, columns, 1)
    parts = windows.split(grid)
    assert windows.fits(parts, 2)
    assert torch.equal(windows.join(parts, 2), grid)


@given(down=st.integers(1, 3), along=st.integers(1, 3), height=st.integers(1, 3), width=st.integers(1, 3))
def test_strided_windows_are_spread_over_the_map(down: int, along: int, height: int, width: int) -> None:
    windows = Windows(down * height, along * width, (height, width), strided=True)
    grid = torch.arange(1.0 * down * height * along * width).view(1, down * height, along * width, 1)
    parts = windows.split(grid)
    assert torch.equal(windows.join(parts, 1), grid)
    assert parts[0, :, 0].tolist() == grid[0, ::down, ::along, 0].flatten().tolist()


def timm_swin(name: str, side: int = 48) -> Network:
    torch.manual_seed(0)
    options: dict[str, Any] = {"img_size": side, "window_size": 4, "embed_dim": 12, "depths": (2, 1)}
    model = timm().create_model(name, pretrained=False, num_classes=3, num_heads=(3, 3), **options).eval()
    return network(model, side)


def windowed_weights(module: nn.Module, pixels: Tensor, attention: str) -> tuple[Tensor, Tensor]:
    """Input of an attention and its weights, by hooks on plain modules, with the windows still apart."""
    found: dict[str, Tensor] = {}
    owner: Any = module.get_submodule(attention)
    owner.fused_attn = False
    owner.register_forward_pre_hook(lambda _m, inputs: found.update(tokens=inputs[0].clone()))
    owner.attn_drop.register_forward_pre_hook(lambda _m, inputs: found.update(weights=inputs[0].clone()))
    with torch.no_grad():
        module(pixels)
    return found["tokens"], found["weights"]


def by_loops(windows: Tensor, side: int, size: int, shift: int) -> Tensor:
    """(image, unit, y, x) of (window, token, unit), token by token."""
    across = side // size
    grid = torch.zeros(2, windows.shape[-1], side, side)
    for image in range(2):
        for y in range(side):
            for x in range(side):
                row, column = (y - shift) % side, (x - shift) % side
                window = (image * across + row // size) * across + column // size
                grid[image, :, y, x] = windows[window, row % size * size + column % size]
    return grid


@pytest.mark.parametrize(
    "name", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "swinv2_cr_tiny_224"]
)
@pytest.mark.parametrize("block", [0, 1])
def test_timms_swin(name: str, block: int) -> None:
    net = timm_swin(name)
    stage = "stages" if "_cr_" in name else "layers"
    attention, shift = f"{stage}.0.blocks.{block}.attn", 2 * block
    pixels, plain = pixels_of(net), copy.deepcopy(net.module)
    with torch.no_grad():
        before = net.module(pixels)
    parts = ("input", "from_all", "qkv.k", "proj.input", "proj.input.head1", "joined")
    layers = choose_layers(net, [f"{attention}.{part}" for part in parts])
    assert {(layer.kind, layer.grid_h, layer.grid_w) for layer in layers} == {("map_last", 12, 12)}
    assert {layer.positions for layer in layers} == {"grid"}
    seen = outputs(net, layers, pixels)
    tokens, weights = windowed_weights(plain, pixels, attention)
    owner: Any = plain.get_submodule(attention)
    keys, values = owner.qkv(tokens).detach().split(12, -1)[1:]
    heads = (weights @ values.unflatten(-1, (3, 4)).transpose(1, 2)).transpose(1, 2)
    wanted = {
        "input": tokens,
        "from_all": weights.mean(2).transpose(1, 2),
        "qkv.k": keys,
        "proj.input": heads.flatten(2),
        "proj.input.head1": heads[:, :, 1],
        "joined": owner.proj(heads.flatten(2)).detach(),
    }
    for part, expected in wanted.items():
        torch.testing.assert_close(seen[f"{attention}.{part}"], by_loops(expected, 12, 4, shift), **CLOSE)
    with torch.no_grad():
        torch.testing.assert_close(net.module(pixels), before, **CLOSE)


@pytest.mark.parametrize("version", ["ShiftedWindowAttention", "ShiftedWindowAttentionV2"])
@pytest.mark.parametrize("side", [8, 10])
def test_torchvisions_swin(version: str, side: int) -> None:
    swin = torchvision().models.swin_transformer
    torch.manual_seed(0)

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 6, 4, 4)
            attend = getattr(swin, version)
            self.first, self.second = (attend(6, [4, 4], [shift, shift], 2) for shift in (0, 2))

        def forward(self, pixels: Tensor) -> Tensor:
            return self.second(self.first(self.stem(pixels).permute(0, 2, 3, 1)))

    net = network(Small().eval(), 4 * side)
    pixels = pixels_of(net)
    with torch.no_grad():
        before = net.module(pixels)
    names = ["first.qkv.q", "second.from_all", "second.proj.input", "second.proj.input.head1"]
    layers = choose_layers(net, names)
    assert {(layer.kind, layer.grid_h, layer.positions) for layer in layers} == {("map_last", side, "grid")}
    seen = outputs(net, layers, pixels)
    with torch.no_grad():
        torch.testing.assert_close(net.module(pixels), before, **CLOSE)
        grid = net.module.stem(pixels).permute(0, 2, 3, 1)
        plain = nn.functional.linear(grid, net.module.first.qkv.weight[:6], net.module.first.qkv.bias[:6])
        output = net.module.second.proj(seen["second.proj.input"].permute(0, 2, 3, 1))
    torch.testing.assert_close(seen["first.qkv.q"], plain.permute(0, 3, 1, 2), **CLOSE)
    torch.testing.assert_close(output, before, **CLOSE)
    assert torch.equal(seen["second.proj.input.head1"], seen["second.proj.input"][:, 3:])
    if side == 8:  # without padding, the 16 weights that each of 16 tokens has sum to 1
        assert torch.allclose(seen["second.from_all"].sum((2, 3)), torch.full((2, 2), 4.0), atol=1e-4)


@pytest.mark.parametrize("kind", ["block", "grid"])
def test_timms_maxvit(kind: str) -> None:
    torch.manual_seed(0)
    model = timm().create_model(
        "maxvit_rmlp_pico_rw_256",
        pretrained=False,
        img_size=64,
        num_classes=3,
        embed_dim=(32, 32),
        depths=(1, 1),
    )
    net = network(model.eval(), 64)
    attention = f"stages.0.blocks.0.attn_{kind}.attn"
    pixels, plain = pixels_of(net), copy.deepcopy(net.module)
    names = [f"{attention}.{part}" for part in ("input", "from_all", "qkv.v", "proj.input.head0")]
    layers = choose_layers(net, names)
    assert {(layer.kind, layer.grid_h) for layer in layers} == {("map_last", 16)}
    seen = outputs(net, layers, pixels)
    tokens, weights = windowed_weights(plain, pixels, attention)
    owner: Any = plain.get_submodule(attention)
    size = tokens.shape[1]
    assert 1 < size < 16

    def whole(windows: Tensor) -> Tensor:
        if kind == "block":
            return by_loops(windows.flatten(1, -2), 16, size, 0)
        library = timm().models.maxxvit
        windows = windows.reshape(len(windows), size, size, -1)
        return library.grid_reverse(windows, [size, size], [16, 16]).permute(0, 3, 1, 2)

    with torch.no_grad():
        _, _, values = owner.qkv(tokens).flatten(1, 2).unflatten(-1, (owner.num_heads, -1)).chunk(3, -1)
    heads = weights @ values.transpose(1, 2)
    wanted = {
        "input": whole(tokens),
        "from_all": whole(weights.mean(2).transpose(1, 2)),
        "qkv.v": whole(values.flatten(2)),
        "proj.input.head0": whole(heads[:, 0]),
    }
    for part, expected in wanted.items():
        torch.testing.assert_close(seen[f"{attention}.{part}"], expected, **CLOSE)


@pytest.mark.parametrize("head_first", [True, False])
def test_queries_of_heads_that_come_first_in_a_map(head_first: bool) -> None:
    torch.manual_seed(0)
    attend = timm().models.maxxvit.Attention2d(8, dim_head=4, head_first=head_first)
    net = network(nn.Sequential(nn.Conv2d(3, 8, 4, 4), attend).eval())
    pixels, plain = pixels_of(net), copy.deepcopy(net.module)
    layers = choose_layers(net, ["1.qkv.k", "1.qkv.k.head1", "1.proj.input.head1"])
    seen = outputs(net, layers, pixels)
    found: dict[str, Tensor] = {}
    plain[1].qkv.register_forward_hook(lambda _m, _i, output: found.update(whole=output.clone()))
    plain[1].proj.register_forward_pre_hook(lambda _m, inputs: found.update(heads=inputs[0].clone()))
    with torch.no_grad():
        plain(pixels)
    whole = found["whole"]
    keys = whole.unflatten(1, (2, 3, 4))[:, :, 1].flatten(1, 2) if head_first else whole[:, 8:16]
    assert torch.equal(seen["1.qkv.k"], keys)
    assert torch.equal(seen["1.qkv.k.head1"], keys[:, 4:])
    assert torch.equal(seen["1.proj.input.head1"], found["heads"][:, 4:])


def test_documented_names_of_windows() -> None:
    text = (Path(__file__).parents[3] / "docs" / "networks.md").read_text(encoding="utf-8")
    table = text.partition("| attention, here A |")[2].partition("\n\n")[0].splitlines()[1:]
    names = [row.split("|")[2].strip(" `").replace("A", "layers.0.blocks.1.attn", 1) for row in table]
    found = choose_layers(timm_swin("swin_tiny_patch4_window7_224"), names, receptive_fields=False)
    assert len(found) == len(names) == 6


SWINS = {
    "swin": ("attention.{}_proj", "attention.o_proj", "attention"),
    "swinv2": ("attention.self.{}", "attention.output.dense", "attention.self"),
}
"""Of transformers: queries and keys, output projection, and attention, in a block."""


@pytest.mark.parametrize("family", SWINS)
def test_swin_of_transformers(family: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra `hf` (transformers)")
    from tests.fixtures.huggingface import save_model

    save_model(family, tmp_path)
    net, plain = (load_network(f"hf:{tmp_path}") for _ in range(2))
    block = f"{family}.encoder.layers.0.blocks.1"
    projections, output, attention = (f"{block}.{name}" for name in SWINS[family])
    query, key = (projections.format(name) for name in (("q", "k") if family == "swin" else ("query", "key")))
    names = [f"{key}.joined", f"{query}.head1", f"{output}.input", f"{attention}.from_all"]
    layers = choose_layers(net, names)
    assert {(layer.kind, layer.grid_h, layer.positions) for layer in layers} == {("map_last", 16, "grid")}
    pixels = pixels_of(net)
    seen = outputs(net, layers, pixels)
    found: dict[str, Tensor] = {}
    owner: Any = plain.module.get_submodule(block)
    plain.module.get_submodule(output).register_forward_pre_hook(
        lambda _m, inputs: found.update(heads=inputs[0])
    )
    kept_outputs = kept(plain, [query, key], pixels)
    queries, keys = (kept_outputs[name].unflatten(-1, (2, 8)).transpose(1, 2) for name in (query, key))
    with torch.no_grad():
        mask = owner.get_attn_mask(16, 16, torch.float32, queries.device).repeat(2, 1, 1)[:, None]
        if family == "swin":
            bias = owner.attention.relative_position_bias()
            weights = (queries @ keys.transpose(2, 3) / 8**0.5 + bias + mask).softmax(-1)
            torch.testing.assert_close(
                seen[f"{attention}.from_all"], by_loops(weights.mean(2).transpose(1, 2), 16, 4, 2), **CLOSE
            )
    assert torch.equal(seen[f"{key}.joined"], by_loops(kept_outputs[key], 16, 4, 2))
    assert torch.equal(seen[f"{query}.head1"], by_loops(kept_outputs[query][..., 8:], 16, 4, 2))
    torch.testing.assert_close(seen[f"{output}.input"], by_loops(found["heads"].detach(), 16, 4, 2), **CLOSE)
    # Of 16 keys, each window's 16 queries give 1 in sum.
    assert torch.allclose(seen[f"{attention}.from_all"].sum((2, 3)), torch.full((2, 2), 16.0), atol=1e-3)


@pytest.mark.parametrize("block", [0, 2, 5])
def test_heads_and_patterns_of_hiera(block: int) -> None:
    torch.manual_seed(0)
    model = timm().create_model(
        "hiera_tiny_224", pretrained=False, img_size=64, num_classes=3, embed_dim=16, stages=(1, 1, 3, 1)
    )
    net = network(model.eval(), 64)
    attention = f"blocks.{block}.attn"
    names = [f"{attention}.{part}" for part in ("proj.input.head0", "from_all", "qkv.v")]
    layers = choose_layers(net, names, receptive_fields=False)
    pixels = pixels_of(net)
    seen = {
        layer.name: value.flatten(2)
        for layer, value in zip(layers, outputs(net, layers, pixels).values(), strict=True)
    }
    owner: Any = net.module.get_submodule(attention)
    projected = kept(net, [f"{attention}.qkv"], pixels)[f"{attention}.qkv"]
    units = projected.shape[1] // (owner.q_stride * owner.window_size) if owner.use_mask_unit_attn else 1
    heads, size = owner.heads, owner.head_dim
    looked = torch.zeros(2, heads, projected.shape[1])
    output = torch.zeros(2, projected.shape[1] // owner.q_stride, heads * size)
    for head in range(heads):
        for unit in range(units):
            own = projected[:, unit::units].unflatten(-1, (3, heads, size))[:, :, :, head]
            queries = own[:, :, 0].unflatten(1, (owner.q_stride, -1)).amax(1)
            weights = (queries @ own[:, :, 1].transpose(1, 2) / size**0.5).softmax(-1)
            looked[:, head, unit::units] = weights.mean(1)
            output[:, unit::units, head * size : (head + 1) * size] = weights @ own[:, :, 2]
    torch.testing.assert_close(seen[f"{attention}.from_all"], looked, **CLOSE)
    torch.testing.assert_close(
        seen[f"{attention}.proj.input.head0"], output[..., :size].transpose(1, 2), **CLOSE
    )
    assert torch.equal(seen[f"{attention}.qkv.v"], projected.chunk(3, -1)[2].transpose(1, 2))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("attn.from_cls", "within windows"),
        ("mlp.joined", "not in the windows"),
        ("attn.qkv", r"joined in layers.0.blocks.0.attn.qkv.joined"),
    ],
)
def test_what_is_not_there(part: str, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        choose_layers(timm_swin("swin_tiny_patch4_window7_224"), [f"layers.0.blocks.0.{part}"])
