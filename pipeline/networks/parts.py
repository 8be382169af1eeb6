"""Parts of a module's output that are layers of their own: tokens, chunks of channels, attention patterns.

    NAME.cls, NAME.register0, NAME.token7   one token, as a vector
    NAME.suffix0                            one of the tokens after the grid
    NAME.q, NAME.k, NAME.v                  the thirds of a projection to queries, keys and values
    NAME.gate, NAME.value                   the halves of a gated MLP's first projection
    NAME.head3                              one head of an attention's queries, keys, values or output
    NAME.from_cls, NAME.from_all            an attention pattern: a unit for each head; how much each token
                                            is looked at, from the class token or on average from all

Each is a small module below the one it reads, so that it is traced, probed, indexed and rendered like any
other layer. The output of the network does not change.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import LayerError
from pipeline.networks.addresses import find_tensor
from pipeline.networks.hooks import add_hooks
from pipeline.networks.part_places import find_place, has_class_token

__all__ = ["Part", "Pattern", "attach_part", "has_patterns", "show_pattern", "weights_of"]


class Part(nn.Module):
    """Outputs a part of a tensor.

    Args:
        index: of the part; of a token also negative, from the end.
        count: parts of equal size along the last axis; 0 for a token, of which `index` is the number.
    """

    def __init__(self, index: int, count: int) -> None:
        super().__init__()
        self.index, self.count = index, count

    def fits(self, tensor: Tensor) -> bool:
        """Whether a tensor has this part."""
        if self.count:
            return tensor.shape[-1] % self.count == 0
        return tensor.dim() == 3 and -tensor.shape[1] <= self.index < tensor.shape[1]

    def forward(self, tensor: Tensor) -> Tensor:
        """(image, unit) of a token, else the same axes with fewer units."""
        if not self.count:
            return tensor[:, self.index]
        size = tensor.shape[-1] // self.count
        return tensor[..., self.index * size : (self.index + 1) * size]


class Pattern(nn.Module):
    """Outputs how much tokens are looked at.

    Args:
        from_cls: from the first token; else on average from all.
    """

    def __init__(self, from_cls: bool) -> None:
        super().__init__()
        self.from_cls = from_cls

    def forward(self, weights: Tensor) -> Tensor:
        """(image, token, head) of attention weights (image, head, query, key)."""
        looked = weights[:, :, 0] if self.from_cls else weights.mean(2)
        return looked.transpose(1, 2)


def attach_part(module: nn.Module, name: str, owner: nn.Module, last: str) -> nn.Module:
    """Add a part to a module of a network.

    Args:
        module: the network; changed in place.
        name: dotted name of the owner.
        owner: whose output, or whose attention pattern, is meant.
        last: name of the part, see `pipeline.networks.part_places`.

    Raises:
        LayerError: when the owner has no such part.
    """
    if last in ("from_cls", "from_all"):
        part: nn.Module = Pattern(last == "from_cls")
        if last == "from_cls" and not has_class_token(module):
            raise LayerError(f"layer {name}.{last}: the network has no class token; use {name}.from_all")
        _show_patterns_of(owner, f"{name}.{last}")
    else:
        part = Part(*find_place(module, name, owner, last))
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


def _show_parts(module: nn.Module, _inputs: Any, output: Any) -> None:
    tensor = find_tensor(output)
    if tensor is None:
        return
    if (attention := module.__dict__.get("biased_by")) is not None:
        tensor = tensor + torch.cat((attention.q_bias, attention.k_bias, attention.v_bias))
    for child in module.children():
        if isinstance(child, Part) and child.fits(tensor):
            child(tensor)


def _show_patterns_of(owner: nn.Module, layer: str) -> None:
    """Make an attention compute its weights and show them; fused attention, which does not, is turned off."""
    if has_patterns(owner):
        return
    drop = getattr(owner, "attn_drop", None)
    if isinstance(drop, nn.Module):
        if hasattr(owner, "fused_attn"):
            setattr(owner, "fused_attn", False)  # noqa: B010
        drop.__dict__["shown_in"] = owner  # not as a submodule; a copy of the network refers to its own
        add_hooks(pre=[(drop, _show_dropped)])
    elif isinstance(owner, nn.MultiheadAttention):
        pass  # `pipeline.networks.extra_modules` shows them
    elif hasattr(getattr(owner, "config", None), "_attn_implementation"):
        config: Any = copy.copy(owner.config)
        config._attn_implementation = "eager"
        owner.config = config
        add_hooks(forward=[(owner, _show_returned)])
    else:
        raise LayerError(
            f"layer {layer}: a {type(owner).__name__} is no attention of timm, transformers or torch; see "
            "docs/networks.md"
        )


def show_pattern(owner: nn.Module, weights: Tensor) -> None:
    """Show attention weights (image, head, query, key) to the patterns of an attention."""
    for child in owner.children():
        if isinstance(child, Pattern):
            child(weights)


def _show_dropped(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    if inputs[0].dim() == 4:
        show_pattern(module.__dict__["shown_in"], inputs[0])


def _show_returned(module: nn.Module, _inputs: Any, output: Any) -> None:
    for item in output if isinstance(output, tuple | list) else ():
        if isinstance(item, Tensor) and item.dim() == 4 and item.shape[2] == item.shape[3]:
            show_pattern(module, item)
            return


def has_patterns(owner: nn.Module) -> bool:
    """Whether patterns of an attention are layers."""
    return any(isinstance(child, Pattern) for child in owner.children())


def weights_of(queries: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
    """Attention weights (image, head, query, key) of queries and keys (image, head, token, feature)."""
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    weights: Tensor = scores.softmax(-1)
    return weights
