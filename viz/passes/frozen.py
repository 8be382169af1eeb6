"""Frozen weights and batch norms: what a climb does with them instead of what training would.

A batch norm in eval mode multiplies each channel and adds to it; its gradient is a product with
that scale, which takes a fraction of the time of PyTorch's kernel for mixed precision. Where it
reads the output of a convolution, the convolution can do both at no cost. `viz.passes.folding` finds out
where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Folding", "Norm", "Ready"]


@dataclass(frozen=True, slots=True)
class Ready:
    """What a convolution uses instead of its own.

    Args:
        weight: (unit, channel, y, x), channels-last.
        bias: (unit,).
    """

    weight: Tensor
    bias: Tensor | None

    def to(self, dtype: torch.dtype) -> Ready:
        """The same in another precision."""
        weight = self.weight.to(dtype, memory_format=torch.channels_last)
        return Ready(weight, None if self.bias is None else self.bias.to(dtype))


@dataclass(frozen=True, slots=True)
class Folding:
    """What stands in for a network's own weights.

    Args:
        weights: by the identity of a convolution's weight.
        idle: identities of the running means of the batch norms that are folded in.
    """

    weights: Mapping[int, Ready] = field(default_factory=dict)
    idle: frozenset[int] = frozenset()

    def to(self, dtype: torch.dtype) -> Folding:
        """The same in another precision."""
        return Folding({key: ready.to(dtype) for key, ready in self.weights.items()}, self.idle)


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
    """The arguments of a `batch_norm`, by name."""

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
        """(unit,) factor of each unit."""
        assert self.variance is not None
        scale = torch.rsqrt(self.variance + self.eps)
        return scale if self.weight is None else scale * self.weight

    def folded(self, weight: Tensor, bias: Tensor | None) -> Ready:
        """A convolution's weight and bias with this behind them."""
        assert self.mean is not None
        scale = self.scale
        shift = -self.mean if bias is None else bias - self.mean
        shift = shift * scale if self.bias is None else shift * scale + self.bias
        return Ready(weight * scale.view(-1, 1, 1, 1), shift)

    def plain(self, values: Tensor) -> Tensor:
        """What PyTorch makes of values."""
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
        """The batch norm of the input."""
        if not self.is_frozen or not self.input.requires_grad:
            return self.plain(self.input)
        return _FrozenNorm.apply(self.input, self)  # type: ignore[no-untyped-call,no-any-return]
