"""Attentions that read the weights of their projections, made to run them as modules, so that hooks see them.

The class of a module is replaced by a subclass whose pass computes the same.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import LayerError
from pipeline.networks.attention_patterns import has_patterns, show_pattern, weights_of
from pipeline.networks.windows import Windows, windows_of

__all__ = ["open_attention", "open_windows", "runs_no_projections"]

MASKED = -100.0
"""Added to scores between tokens that are no neighbours in the map; torchvision's constant."""

LARGEST_SCALE = math.log(100.0)
"""Of the cosines of SwinV2, as a logarithm."""


class _OpenAttention(nn.MultiheadAttention):
    """torch's attention, calling its output projection as a module, so that hooks see its input."""

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
        projected = [
            functional.linear(part, matrix, offset)
            for part, matrix, offset in zip((query, key, value), weight.chunk(3), biases, strict=True)
        ]
        for name, part in zip("qkv", projected, strict=True):
            if name in self._modules:
                self.get_submodule(name)(part)
        queries, keys, values = (
            part.reshape(*part.shape[:2], self.num_heads, -1).transpose(1, 2) for part in projected
        )
        if has_patterns(self):
            show_pattern(self, weights_of(queries, keys, attn_mask))
        attended = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=attn_mask, is_causal=is_causal and attn_mask is None
        )
        output = self.out_proj(attended.transpose(1, 2).flatten(2))
        return (output if self.batch_first else output.transpose(0, 1)), None


def open_attention(parent: nn.Module, name: str) -> None:
    """Make a torch attention show its queries, keys, values and weights, and the output of its heads.

    Args:
        parent: changed in place if it is an `nn.MultiheadAttention`.
        name: of the layer that needs it.

    Raises:
        LayerError: for an attention with separate projections, added keys or zeros.
    """
    if type(parent) is not nn.MultiheadAttention:
        return
    if parent.in_proj_weight is None or parent.bias_k is not None or parent.add_zero_attn:
        raise LayerError(
            f"layer {name}: not supported for an attention with separate projections, or with added keys "
            "or zeros"
        )
    parent.__class__ = _OpenAttention


def runs_no_projections(module: nn.Module) -> bool:
    """Whether a module is torchvision's attention of Swin or SwinV2, unless it was opened."""
    return type(module).__name__ in ("ShiftedWindowAttention", "ShiftedWindowAttentionV2")


def open_windows(module: nn.Module) -> None:
    """Make torchvision's attention of Swin show its projections, the output of its heads, and its weights.

    Args:
        module: changed in place; one for which `runs_no_projections`.
    """
    attention: Any = module
    if hasattr(attention, "logit_scale") and attention.qkv.bias is not None:
        # Its own pass sets the keys' bias to 0.
        with torch.no_grad():
            attention.qkv.bias.chunk(3)[1].zero_()
    attention.__class__ = type(f"_Open{type(attention).__name__}", (_OpenWindows, type(attention)), {})


class _OpenWindows(nn.Module):
    """Mixed into torchvision's attention of Swin; its dropout, which only training has, is left out."""

    num_heads: int
    qkv: nn.Linear
    proj: nn.Linear
    get_relative_position_bias: Any

    def forward(self, grid: Tensor) -> Tensor:
        """(image, y, x, unit), as it is given."""
        images, rows, columns, units = grid.shape
        windows = windows_of(self, rows, columns)
        parts = self.qkv(windows.split(grid))
        parts = parts.view(*parts.shape[:-1], 3, self.num_heads, units // self.num_heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.get_relative_position_bias() + _masked(windows, images, grid)
        scale = getattr(self, "logit_scale", None)
        if scale is None:
            weights = weights_of(queries, keys, bias)
        else:
            queries, keys = (functional.normalize(part, dim=-1) for part in (queries, keys))
            cosines = queries @ keys.transpose(-2, -1)
            weights = (cosines * scale.clamp(max=LARGEST_SCALE).exp() + bias).softmax(-1)
        if has_patterns(self):
            show_pattern(self, weights)
        output = self.proj((weights @ values).transpose(1, 2).flatten(2))
        return windows.join(output, images).view(images, rows, columns, units)


def _masked(windows: Windows, images: int, grid: Tensor) -> Tensor:
    """What is added to scores, (window, 1, query, key): tokens that the shift brought together are masked."""

    def region(count: int, size: int, shift: int) -> Tensor:
        places = torch.arange(count, device=grid.device)
        return (places >= count - size).long() + (places >= count - shift).long() * (shift > 0)

    (height, width), (down, along) = windows.size, windows.shift
    rows = region(windows.down * height, height, down)
    columns = region(windows.along * width, width, along)
    whole = Windows(len(rows), len(columns), windows.size)
    regions = whole.split((3 * rows[:, None] + columns)[None, :, :, None]).squeeze(-1)
    apart = regions[:, None, :, None] != regions[:, None, None, :]
    return (apart.to(grid.dtype) * MASKED).repeat(images, 1, 1, 1)
