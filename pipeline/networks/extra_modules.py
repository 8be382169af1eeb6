"""Layers that are not the output of any module of a network.

    NAME.input    the input of module NAME; for the output projection of an attention, the output of
                  its heads: unit = head * features + feature
    NAME.FILE     the output of NAME projected on directions from FILE.safetensors, one unit per row, or
                  encoded by a sparse autoencoder, see `pipeline.networks.dictionary_files`

and tokens, heads, queries and patterns, see `pipeline.networks.parts`. All are added to the network as
small modules that output these values, so that they are traced, probed, indexed and rendered like any
other layer. The output of the network does not change.
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
from pipeline.networks.attention_patterns import Pattern
from pipeline.networks.dictionaries import Dictionary
from pipeline.networks.dictionary_files import is_dictionary, read_dictionary
from pipeline.networks.hooks import add_hooks
from pipeline.networks.open_attention import open_attention, open_windows, runs_no_projections
from pipeline.networks.part_places import PART
from pipeline.networks.parts import Output, Part, attach_part
from pipeline.networks.rotary import Rotated
from pipeline.networks.trace import first_tensor
from pipeline.networks.weights import read_weights
from pipeline.networks.windows import find_windows, join_windows, joined

__all__ = ["INPUT", "Directions", "Tap", "add_directions", "find_module", "own_children"]

INPUT = "input"
"""Name of the module that outputs the input of its parent. Not `in`: torch.compile generates code
that contains the names of modules, which must not be keywords."""


class Tap(nn.Identity):
    """Outputs the input of its parent module, or what a torch attention shows it; windows are joined."""

    def forward(self, tensor: Tensor) -> Tensor:
        """(image, y, x, unit) of windows, see `pipeline.networks.windows`; else the same tensor."""
        return join_windows(self, tensor)


class Directions(nn.Module):
    """Projects the output of its parent module on given directions.

    Args:
        rows: (unit, channel).
    """

    rows: Tensor

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows)

    def forward(self, output: Tensor) -> Tensor:
        """Replace the channels, on axis 1 of a map or on the last axis, by the projections."""
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
    """The children that belong to the network itself, without taps, directions and parts."""
    return [
        child
        for child in module.children()
        if not isinstance(child, Tap | Directions | Dictionary | Part | Pattern | Rotated | Output)
    ]


def _show_input(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    tensor = first_tensor(inputs)
    if tensor is not None:
        module.get_submodule(INPUT)(tensor)


def _show_directions(module: nn.Module, _inputs: Any, output: Any) -> None:
    tensor = first_tensor(output)
    for child in module.children():
        if isinstance(child, Directions | Dictionary) and tensor is not None:
            child(tensor)


def find_module(module: nn.Module, name: str) -> nn.Module:
    """Find a module by its dotted name; an input or a part is added if it does not exist yet.

    Raises:
        LayerError: if there is no such module, its input cannot be observed, or it has no such part.
    """
    try:
        return module.get_submodule(name)
    except AttributeError as error:
        base, _, last = name.rpartition(".")
        known = [known for known, _ in module.named_modules()]
        extra = last == INPUT or PART.fullmatch(last)
        if not extra or (base not in known and not _is_extra(base)):
            raise LayerError(f"the network has no layer {name!r}{did_you_mean(name, known)}") from error
    owner = find_module(module, base)
    for inside in (owner, module.get_submodule(base.rpartition(".")[0])):
        if runs_no_projections(inside):
            open_windows(inside)
    if isinstance(owner, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        what = "the input of a module inside it" if last == INPUT else "a module inside it"
        raise LayerError(f"layer {name}: {base} is a container; name {what}")
    if last != INPUT:
        return _attach_part(module, name, base, owner, last)
    if base.endswith("out_proj"):
        open_attention(module.get_submodule(base.rpartition(".")[0]), name)
    tap = Tap()
    if (block := find_windows(module, base)) is not None and not isinstance(owner, Tap | Part):
        joined(tap, block, base)
    owner.add_module(INPUT, tap)
    add_hooks(pre=[(owner, _show_input)])
    return tap


def _is_extra(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last == INPUT or PART.fullmatch(last) is not None


def _attach_part(module: nn.Module, name: str, base: str, owner: nn.Module, last: str) -> nn.Module:
    if isinstance(owner, nn.MultiheadAttention) and last in ("q", "k", "v", "from_cls", "from_all"):
        open_attention(owner, name)
        if last in ("q", "k", "v"):
            tap = Tap()
            owner.add_module(last, tap)
            return tap
    return attach_part(module, base, owner, last, (Tap, Rotated, Output))


def _rows(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, rows in tensors.items():
        if rows.dim() != 2 or not rows.is_floating_point():
            raise WeightsError(
                f"directions {path}: {name} is {tuple(rows.shape)} {rows.dtype}, expected a floating-point "
                "matrix with one row per direction"
            )
    return {name: rows.to(torch.float32) for name, rows in tensors.items()}


def add_directions(module: nn.Module, specification: str | Path) -> tuple[str, ...]:
    """Add layers that project the outputs of other layers on directions from a file.

    Args:
        module: changed in place.
        specification: a safetensors file whose tensors, each (direction, channel), are named after
            layers; or `LAYER=FILE` for a file with a single tensor, or a file or folder with an encoder.

    Returns:
        The names of the new layers, `LAYER.FILE`.

    Raises:
        LayerError: for a layer that does not exist, or a dictionary without its layer.
        WeightsError: if the file does not contain matrices.
    """
    layer, _, place = str(specification).rpartition("=")
    path = Path(place)
    if is_dictionary(path):
        if not layer:
            raise LayerError(
                f"{path} is a dictionary with an encoder; say which layer it encodes: "
                f"--dictionary {path} --at LAYER"
            )
        return (_attach(module, layer, read_dictionary(path), path.stem),)
    tensors = _rows(path, read_weights(path))
    if layer and len(tensors) != 1:
        raise WeightsError(
            f"directions {path} contain {len(tensors)} tensors ({', '.join(tensors)}), expected one; "
            "to use all of them, name them after layers and give FILE without LAYER="
        )
    if layer:
        tensors = {layer: next(iter(tensors.values()))}
    return tuple(_attach(module, name, Directions(rows), path.stem) for name, rows in tensors.items())


def _attach(module: nn.Module, name: str, added: Directions | Dictionary, stem: str) -> str:
    """Add directions or a dictionary to one layer."""
    owner = find_module(module, name)
    while isinstance(owner, nn.Sequential):
        # A child of a Sequential would run in its chain; its last module has the same output.
        last = list(owner._modules)[-1]
        owner, name = owner.get_submodule(last), f"{name}.{last}"
    child = re.sub(r"\W", "_", stem)
    child += "_" if keyword.iskeyword(child) else ""
    if child in dict(owner.named_children()) or hasattr(owner, child):
        raise LayerError(f"directions {stem}: layer {name} has an attribute of that name; rename the file")
    if not any(isinstance(known, Directions | Dictionary) for known in owner.children()):
        add_hooks(forward=[(owner, _show_directions)])
    owner.add_module(child, added)
    return f"{name}.{child}"
