"""Attention patterns as layers: how much each token is looked at, by each head.

    NAME.from_cls, NAME.from_all         by the class token, or by all tokens on average
    NAME.from_register1, NAME.from_token7, NAME.from_suffix0    by one of the other tokens

A pattern is a module below the attention, which is given the weights by whatever computes them.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import LayerError
from pipeline.networks.hooks import add_hooks
from pipeline.networks.part_places import find_place
from pipeline.networks.windows import find_windows, join_windows, joined

__all__ = ["Pattern", "attach_pattern", "has_patterns", "show_pattern", "weights_of"]


class Pattern(nn.Module):
    """Outputs how much tokens are looked at.

    Args:
        query: number of the token that looks, from the end if negative; None: all, on average.
    """

    def __init__(self, query: int | None) -> None:
        super().__init__()
        self.query = query

    def fits(self, weights: Tensor) -> bool:
        """Whether weights (image, head, query, key) have the token that looks."""
        return self.query is None or -weights.shape[-2] <= self.query < weights.shape[-2]

    def forward(self, weights: Tensor) -> Tensor:
        """(image, token, head) of weights (image, head, query, key), (image, y, x, head) of windows.

        Of mask units (image, head, unit, query, key), the keys are in the order of Hiera's tokens.
        """
        looked = weights.mean(-2) if self.query is None else weights[..., self.query, :]
        if looked.dim() == 4:
            looked = looked.transpose(2, 3).flatten(2)
        return join_windows(self, looked.transpose(1, 2))


def attach_pattern(module: nn.Module, name: str, owner: nn.Module, last: str) -> nn.Module:
    """Add a pattern to an attention of a network.

    Args:
        module: the network; changed in place.
        name: dotted name of the attention.
        owner: that attention.
        last: name of the pattern, from `from_`.

    Raises:
        LayerError: when the module is no attention, or there is no such token.
    """
    layer, token = f"{name}.{last}", last.removeprefix("from_")
    block = find_windows(module, f"{name}.qkv" if _is_torchvisions(owner) else name)
    if token != "all" and (block is not None or getattr(owner, "use_mask_unit_attn", False)):
        raise LayerError(f"layer {layer}: tokens look within windows, each with its own; use {name}.from_all")
    try:
        query = None if token == "all" else find_place(module, name, owner, token).index
    except LayerError as error:
        raise LayerError(f"{str(error).replace(f'{name}.{token}', layer)}; use {name}.from_all") from error
    _show_patterns_of(owner, layer)
    pattern = Pattern(query)
    if block is not None:
        joined(pattern, block, name)
    return pattern


def _is_torchvisions(owner: nn.Module) -> bool:
    return hasattr(owner, "shift_size") and hasattr(owner, "qkv")


def _show_patterns_of(owner: nn.Module, layer: str) -> None:
    """Make an attention compute its weights and show them; fused attention, which does not, is turned off."""
    if has_patterns(owner):
        return
    drop, projection = getattr(owner, "attn_drop", None), getattr(owner, "qkv", None)
    if drop is None and hasattr(owner, "num_attention_heads") and not hasattr(owner, "config"):
        drop = getattr(owner, "dropout", None)  # SwinV2 of transformers
    if isinstance(drop, nn.Module):
        if hasattr(owner, "fused_attn"):
            setattr(owner, "fused_attn", False)  # noqa: B010
        drop.__dict__["shown_in"] = owner  # not as a submodule; a copy of the network refers to its own
        add_hooks(pre=[(drop, _show_dropped)])
    elif isinstance(owner, nn.MultiheadAttention) or _is_torchvisions(owner):
        pass  # `pipeline.networks.extra_modules` shows them
    elif hasattr(getattr(owner, "config", None), "_attn_implementation"):
        config: Any = copy.copy(owner.config)
        config._attn_implementation = "eager"
        owner.config = config
        add_hooks(forward=[(owner, _show_returned)])
    elif hasattr(owner, "use_mask_unit_attn") and isinstance(projection, nn.Module):
        projection.__dict__["shown_in"] = owner
        add_hooks(forward=[(projection, _show_mask_units)])
    else:
        raise LayerError(
            f"layer {layer}: a {type(owner).__name__} is no attention of timm, transformers or torch; see "
            "docs/networks.md"
        )


def show_pattern(owner: nn.Module, weights: Tensor) -> None:
    """Show attention weights (image, head, query, key) to the patterns of an attention."""
    for child in owner.children():
        if isinstance(child, Pattern) and child.fits(weights):
            child(weights)


def _show_dropped(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    if inputs[0].dim() == 4:
        show_pattern(module.__dict__["shown_in"], inputs[0])


def _show_returned(module: nn.Module, _inputs: Any, output: Any) -> None:
    for item in output if isinstance(output, tuple | list) else ():
        if isinstance(item, Tensor) and item.dim() == 4 and item.shape[2] == item.shape[3]:
            show_pattern(module, item)
            return


def _show_mask_units(module: nn.Module, _inputs: Any, output: Tensor) -> None:
    """Compute the weights of Hiera's attention, which has no module that sees them.

    Token t is the place t // units of mask unit t % units; where the stride of the queries is not 1,
    each is the maximum over that many places.
    """
    owner: Any = module.__dict__["shown_in"]
    heads = getattr(owner, "heads", None) or owner.num_heads
    stride = getattr(owner, "q_stride", None) or owner.query_stride
    units = output.shape[1] // (stride * owner.window_size) if owner.use_mask_unit_attn else 1
    parts = output.view(len(output), -1, units, 3, heads, output.shape[-1] // (3 * heads))
    queries, keys, _ = parts.permute(3, 0, 4, 2, 1, 5).unbind(0)  # (image, head, unit, place, feature)
    queries = queries.reshape(*queries.shape[:3], stride, -1, queries.shape[-1]).amax(3)
    show_pattern(owner, weights_of(queries, keys, None))


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
