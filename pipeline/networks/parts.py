"""Parts of a module's output that are layers of their own: tokens and chunks of channels.

    NAME.cls, NAME.register0, NAME.token7   one token, as a vector
    NAME.suffix0                            one of the tokens after the grid
    NAME.q, NAME.k, NAME.v                  the thirds of a projection to queries, keys and values
    NAME.gate, NAME.value                   the halves of a gated MLP's first projection
    NAME.head3                              one head of an attention's queries, keys, values or output
    NAME.output1                            the second tensor of an output with several, to name parts of it
    NAME.joined                             all of an output in windows of tokens, as one map

and attention patterns and rotated queries, see `pipeline.networks.attention_patterns` and
`pipeline.networks.rotary`. The parts of what is in windows are maps, see `pipeline.networks.windows`.
Each is a small module below the one it reads, so that it is traced, probed, indexed and rendered like any
other layer. The output of the network does not change.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import LayerError
from pipeline.networks.addresses import find_tensor, output_tensors
from pipeline.networks.attention_patterns import attach_pattern
from pipeline.networks.hooks import add_hooks
from pipeline.networks.part_places import Place, find_place
from pipeline.networks.rotary import attach_rotated
from pipeline.networks.windows import find_windows, join_windows, joined

__all__ = ["Output", "Part", "attach_part"]


class Output(nn.Identity):
    """Outputs one of several tensors of its parent module's output.

    Args:
        number: of the tensor, from 0, in the order of `pipeline.networks.addresses.output_tensors`.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Part(nn.Module):
    """Outputs a part of a tensor.

    Args:
        place: where the part is.
    """

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    def fits(self, tensor: Tensor) -> bool:
        """Whether a tensor has this part."""
        index, count, groups, axis = self.place.index, self.place.count, self.place.groups, self.place.axis
        if count:
            return tensor.dim() > axis and tensor.shape[axis] % (groups * count) == 0
        return tensor.dim() == 3 and -tensor.shape[1] <= index < tensor.shape[1]

    def forward(self, tensor: Tensor) -> Tensor:
        """(image, unit) of a token, else the same axes with fewer units; (image, y, x, unit) of windows."""
        index, count, groups, axis = self.place.index, self.place.count, self.place.groups, self.place.axis
        if not count:
            return tensor[:, index]
        last = tensor.movedim(axis, -1)
        units = last.reshape(*last.shape[:-1], groups, count, -1)[..., index, :].flatten(-2)
        whole = join_windows(self, units)
        return whole.movedim(-1, axis) if whole is units else whole


def attach_part(
    module: nn.Module, name: str, owner: nn.Module, last: str, added: tuple[type[nn.Module], ...] = ()
) -> nn.Module:
    """Add a part to a module of a network.

    Args:
        module: the network; changed in place.
        name: dotted name of the owner.
        owner: whose output, or whose attention pattern, is meant.
        last: name of the part, see `pipeline.networks.part_places`.
        added: classes of modules that were added to the network.

    Raises:
        LayerError: when the owner has no such part.
    """
    if last.startswith("from_"):
        part: nn.Module = attach_pattern(module, name, owner, last)
    elif last in ("q_rot", "k_rot"):
        part = attach_rotated(name, owner, last)
    elif last.startswith("output"):
        part = Output(int(last.removeprefix("output")))
        if not any(isinstance(child, Output) for child in owner.children()):
            add_hooks(forward=[(owner, _show_outputs)])
    else:
        part = Part(find_place(module, name, owner, last))
        # What is below an added module is in no windows any more.
        block = None if isinstance(owner, (Part, *added)) else find_windows(module, name)
        if block is not None:
            joined(part, block, name)
        if last in ("q", "k", "v"):
            _run_without_bias(module.get_submodule(name.rpartition(".")[0]), owner)
        if not any(isinstance(child, Part) for child in owner.children()):
            add_hooks(forward=[(owner, _show_parts)])
    if hasattr(owner, last):
        raise LayerError(f"layer {name}.{last}: {name} has an attribute of that name")
    owner.add_module(last, part)
    return part


def _run_without_bias(attention: nn.Module, owner: nn.Module) -> None:
    """Make timm's attention of BEiT and EVA, which reads the weights of its projection, run it as a module.

    The attention then adds the biases, which are its own parameters, to the projection's output.
    """
    if getattr(attention, "q_bias", None) is None or not hasattr(attention, "qkv_bias_separate"):
        return
    setattr(attention, "qkv_bias_separate", True)  # noqa: B010
    owner.__dict__["biased_by"] = attention  # not as a submodule; a copy of the network refers to its own


def _show_outputs(module: nn.Module, _inputs: Any, output: Any) -> None:
    tensors = [tensor for _, tensor in output_tensors(output)]
    for child in module.children():
        if isinstance(child, Output) and child.number < len(tensors) > 1:
            child(tensors[child.number])


def _show_parts(module: nn.Module, _inputs: Any, output: Any) -> None:
    tensor = find_tensor(output)
    if tensor is None:
        return
    if (attention := module.__dict__.get("biased_by")) is not None:
        tensor = tensor + torch.cat((attention.q_bias, attention.k_bias, attention.v_bias))
    for child in module.children():
        if isinstance(child, Part) and child.fits(tensor):
            child(tensor)
