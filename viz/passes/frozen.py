"""Batch norms of frozen networks in gradient ascent, and convolutions that include them.

A batch norm in eval mode multiplies each channel and adds to it; its gradient is a product with
that scale, which takes a fraction of the time of PyTorch's kernel for mixed precision. Where it
reads the output of a convolution, the convolution can do both at no cost; `viz.passes.folding` finds
these pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["FoldedConv", "Folding", "Norm"]


@dataclass(frozen=True, slots=True)
class FoldedConv:
    """The weight and bias that a convolution uses in place of its own.

    Args:
        weight: (unit, channel, y, x), channels-last.
        bias: (unit,).
    """

    weight: Tensor
    bias: Tensor | None

    def to(self, dtype: torch.dtype) -> FoldedConv:
        """The same in another precision."""
        weight = self.weight.to(dtype, memory_format=torch.channels_last)
        return FoldedConv(weight, None if self.bias is None else self.bias.to(dtype))


@dataclass(frozen=True, slots=True)
class Folding:
    """Replacements of a network's weights. Tensors are keys by identity, as in an optimiser's state.

    Args:
        convolutions: by the convolution's own weight.
        means: running means of the batch norms that are folded into them, and do nothing.
    """

    convolutions: Mapping[Tensor, FoldedConv] = field(default_factory=dict)
    means: frozenset[Tensor] = frozenset()

    def to(self, dtype: torch.dtype) -> Folding:
        """The same in another precision."""
        return Folding({weight: conv.to(dtype) for weight, conv in self.convolutions.items()}, self.means)


class _FrozenNorm(torch.autograd.Function):
    """A batch norm whose gradient reaches only the input."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, norm: Norm) -> Tensor:
        ctx.save_for_backward(norm.scale)
        return norm.plain(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (scale,) = ctx.saved_tensors
        shape = (1, -1, *[1] * (gradient.ndim - 2))
        return gradient * scale.to(gradient.dtype).view(shape), None


class Norm:
    """The arguments of `torch.nn.functional.batch_norm`, by name."""

    def __init__(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> None:
        self.input, self.mean, self.variance = input, running_mean, running_var
        self.weight, self.bias, self.eps = weight, bias, eps
        self.training, self.momentum = training, momentum
        parts = (running_mean, running_var, weight, bias)
        learns = any(part is not None and part.requires_grad for part in parts)
        self.is_frozen = running_mean is not None and not training and not learns

    @property
    def scale(self) -> Tensor:
        """The factor of each unit, (unit,)."""
        assert self.variance is not None
        scale = torch.rsqrt(self.variance + self.eps)
        return scale if self.weight is None else scale * self.weight

    def folded(self, weight: Tensor, bias: Tensor | None) -> FoldedConv:
        """The weight and bias of a convolution that is followed by this norm, as one convolution."""
        assert self.mean is not None
        scale = self.scale
        shift = -self.mean if bias is None else bias - self.mean
        shift = shift * scale if self.bias is None else shift * scale + self.bias
        return FoldedConv(weight * scale.view(-1, 1, 1, 1), shift)

    def plain(self, values: Tensor) -> Tensor:
        """PyTorch's batch norm of some values."""
        return F.batch_norm(
            values,
            self.mean,
            self.variance,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )

    def run(self) -> Tensor:
        """The batch norm of the input; its gradient reaches only the input."""
        if not self.is_frozen or not self.input.requires_grad:
            return self.plain(self.input)
        return _FrozenNorm.apply(self.input, self)  # type: ignore[no-untyped-call,no-any-return]
