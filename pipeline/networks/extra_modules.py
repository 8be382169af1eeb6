"""Layers that no module of a network is by itself.

    NAME.input    what goes into module NAME; of an attention's output projection, the output of
                  its heads: unit = head * features + feature
    NAME.FILE     the output of NAME along directions from FILE.safetensors, one unit per row

Both become small modules inside the network that give their values as an output, so that they are
traced, probed, indexed and rendered like any layer. The network's own output does not change.
"""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import LayerError, WeightsError, did_you_mean
from pipeline.networks.hooks import add_hooks
from pipeline.networks.trace import first_tensor
from pipeline.networks.weights import read_weights

__all__ = ["INPUT", "Directions", "Tap", "add_directions", "find_module", "own_children"]

INPUT = "input"
"""The name of the module that gives another one's input. Not `in`: torch.compile writes code with
the names of modules in it, which must not be keywords."""


class Tap(nn.Identity):
    """Gives the input of the module that holds it."""


class Directions(nn.Module):
    """Gives the output of the module that holds it along given directions.

    Args:
        rows: (unit, channel).
    """

    rows: Tensor

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows)

    def forward(self, output: Tensor) -> Tensor:
        """Replace the channels, on axis 1 of a map or on the last axis, by the directions."""
        channels = self.rows.shape[1]
        rows = self.rows.to(output.dtype)
        if output.dim() == 4 and output.shape[1] == channels:
            return functional.conv2d(output, rows[:, :, None, None])
        if output.shape[-1] != channels:
            raise LayerError(
                f"directions have {channels} columns, the layer's output {tuple(output.shape)} "
                "has no axis of that length for its channels"
            )
        return functional.linear(output, rows)


def own_children(module: nn.Module) -> list[nn.Module]:
    """The children that the network itself brought."""
    return [child for child in module.children() if not isinstance(child, Tap | Directions)]


def _show_input(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    tensor = first_tensor(inputs)
    if tensor is not None:
        module.get_submodule(INPUT)(tensor)


def _show_directions(module: nn.Module, _inputs: Any, output: Any) -> None:
    tensor = first_tensor(output)
    for child in module.children():
        if isinstance(child, Directions) and tensor is not None:
            child(tensor)


class _OpenAttention(nn.MultiheadAttention):
    """torch's attention with the output projection as a module that is really called."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """As `nn.MultiheadAttention`, without the attention weights."""
        if not self.batch_first:
            query, key, value = (part.transpose(0, 1) for part in (query, key, value))
        weight, bias = self.in_proj_weight, self.in_proj_bias
        biases = bias.chunk(3) if bias is not None else (None,) * 3
        queries, keys, values = (
            functional.linear(part, matrix, offset)
            .reshape(*part.shape[:2], self.num_heads, -1)
            .transpose(1, 2)
            for part, matrix, offset in zip((query, key, value), weight.chunk(3), biases, strict=True)
        )
        attended = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=attn_mask, is_causal=is_causal and attn_mask is None
        )
        output = self.out_proj(attended.transpose(1, 2).flatten(2))
        return (output if self.batch_first else output.transpose(0, 1)), None


def _open_attention(module: nn.Module, name: str) -> None:
    """Make the output projection of a torch attention one that is called."""
    parent = module.get_submodule(name.rpartition(".")[0])
    if type(parent) is not nn.MultiheadAttention or not name.endswith("out_proj"):
        return
    if parent.in_proj_weight is None or parent.bias_k is not None or parent.add_zero_attn:
        raise LayerError(
            f"layer {name}.{INPUT}: an attention with separate projections, added keys or zeros "
            "cannot be opened"
        )
    parent.__class__ = _OpenAttention


def find_module(module: nn.Module, name: str) -> nn.Module:
    """A module by its dotted name; `NAME.input` is put in where it is not there yet.

    Raises:
        LayerError: when there is none, or its input cannot be shown.
    """
    try:
        return module.get_submodule(name)
    except AttributeError as error:
        base, _, last = name.rpartition(".")
        known = [known for known, _ in module.named_modules()]
        if last != INPUT or base not in known:
            raise LayerError(f"the network has no layer {name!r}{did_you_mean(name, known)}") from error
    owner = module.get_submodule(base)
    if isinstance(owner, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        raise LayerError(f"layer {name}: give the input of a module inside {base}")
    _open_attention(module, base)
    tap = Tap()
    owner.add_module(INPUT, tap)
    add_hooks(pre=[(owner, _show_input)])
    return tap


def _rows(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, rows in tensors.items():
        if rows.dim() != 2 or not rows.is_floating_point():
            raise WeightsError(
                f"directions {path}: {name} is {tuple(rows.shape)} {rows.dtype}, expected a matrix "
                "of numbers with one row per direction"
            )
    return {name: rows.to(torch.float32) for name, rows in tensors.items()}


def add_directions(module: nn.Module, specification: str | Path) -> tuple[str, ...]:
    """Add layers that read other layers along directions from a file.

    Args:
        module: changed in place.
        specification: a safetensors file whose tensors are named by the layers they read, each
            (direction, channel); or `LAYER=FILE` for a file with a single tensor.

    Returns:
        The names of the new layers: that of the layer read and that of the file.

    Raises:
        LayerError: for a layer that does not exist.
        WeightsError: when the file does not hold matrices.
    """
    layer, _, place = str(specification).rpartition("=")
    path = Path(place)
    tensors = _rows(path, read_weights(path))
    if layer and len(tensors) != 1:
        raise WeightsError(
            f"directions {path} hold {len(tensors)} tensors ({', '.join(tensors)}), expected one; "
            "or name them by the layers they read and leave out the layer"
        )
    if layer:
        tensors = {layer: next(iter(tensors.values()))}
    return tuple(_attach(module, name, rows, path.stem) for name, rows in tensors.items())


def _attach(module: nn.Module, name: str, rows: Tensor, stem: str) -> str:
    """Put directions beside one layer."""
    owner = find_module(module, name)
    while isinstance(owner, nn.Sequential):
        # A child of a Sequential would run in its chain; its last module has the same output.
        last = list(owner._modules)[-1]
        owner, name = owner.get_submodule(last), f"{name}.{last}"
    child = re.sub(r"\W", "_", stem)
    child += "_" if keyword.iskeyword(child) else ""
    if child in dict(owner.named_children()) or hasattr(owner, child):
        raise LayerError(f"directions {stem}: layer {name} has a part of that name; rename the file")
    if not any(isinstance(known, Directions) for known in owner.children()):
        add_hooks(forward=[(owner, _show_directions)])
    owner.add_module(child, Directions(rows))
    return f"{name}.{child}"
