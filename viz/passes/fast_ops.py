"""Faster convolutions and batch norms of frozen weights, with the same result.

Layout: pooling takes ten times longer on planes (NCHW) than on channels-last tensors, and a network
may return to planes by itself, as torchvision's GoogLeNet does when it shifts its input from one
normalisation to another. So every convolution gets its input channels-last.

Strided grouped convolutions in bfloat16: oneDNN has no fast kernel for their gradient. The strided
depthwise convolutions of EfficientNet-Lite0 took 40 % of the time of gradient ascent, 59 ms for
8 x 96 x 112 x 112. That gradient is also the convolution of the output's gradient, spread out with
zeros, with the flipped kernel: 14 ms. Weights are frozen, so that no other gradient is needed.

Strided convolutions of a picture: with three channels oneDNN has little to multiply at a time, and
the gradient of GoogLeNet's first convolution took 30 ms for 8 x 64 x 88 x 88. Moving the pixels under
one step of the stride into channels (a pixel unshuffle) removes the stride: 11 ms.

Batch norms and weights: see `viz.passes.frozen`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from viz.passes.frozen import Folding, Norm

__all__ = ["QuickConvolutions"]

FEW_CHANNELS = 4
"""Strided convolutions of at most this many channels are computed without the stride."""


class _StridedConvolution(torch.autograd.Function):
    """`torch.conv2d` whose gradient reaches only the input."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.dtype = values.shape, values.dtype
        ctx.options = (stride, padding, dilation, groups)
        return torch.conv2d(values, weight, bias, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.options
        flipped = _flipped(weight.to(gradient.dtype), groups)
        reach = [dilation[axis] * (weight.shape[2 + axis] - 1) for axis in range(2)]
        size = (*gradient.shape[:2], ctx.shape[2] + reach[0], ctx.shape[3] + reach[1])
        spread = torch.empty(size, dtype=gradient.dtype, memory_format=torch.channels_last).zero_()
        rows, columns = (
            slice(start, start + (count - 1) * step + 1, step)
            for start, count, step in zip(
                (reach[0] - padding[0], reach[1] - padding[1]),
                gradient.shape[2:],
                stride,
                strict=True,
            )
        )
        spread[:, :, rows, columns] = gradient
        slope = torch.conv2d(spread, flipped, None, 1, 0, dilation, groups)
        return slope.to(ctx.dtype), None, None, None, None, None, None


def _flipped(weight: Tensor, groups: int) -> Tensor:
    """The kernel of the gradient: flipped, with inputs and outputs swapped within each group."""
    grouped = weight.unflatten(0, (groups, -1))  # type: ignore[no-untyped-call]
    flipped: Tensor = grouped.transpose(1, 2).flatten(0, 1).flip(2, 3)
    return flipped


class QuickConvolutions(TorchFunctionMode):
    """A context in which convolutions and batch norms of frozen weights are faster.

    Args:
        folding: replacements of the network's own weights.
    """

    def __init__(self, folding: Folding | None = None) -> None:
        super().__init__()
        self.folding = folding or Folding()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm:
            return self._norm(Norm(*args, **kwargs))
        if func is torch.conv2d:
            return self._convolution(_Call(*args, **kwargs))
        return func(*args, **kwargs)

    def _norm(self, norm: Norm) -> Tensor:
        return norm.input if norm.mean in self.folding.means else norm.run()

    def _convolution(self, call: _Call) -> Tensor:
        folded = self.folding.convolutions.get(call.weight)
        if folded is not None:
            call.weight, call.bias = folded.weight, folded.bias
        if call.input.ndim != 4 or call.input.device.type != "cpu":
            return torch.conv2d(*call.arguments)
        if call.is_of_a_picture:
            call.unshuffle()
        call.input = call.input.contiguous(memory_format=torch.channels_last)
        if call.is_slow and torch.is_autocast_enabled("cpu"):
            return _StridedConvolution.apply(*call.arguments)  # type: ignore[no-untyped-call,no-any-return]
        return torch.conv2d(*call.arguments)


class _Call:
    """The arguments of `torch.conv2d`, by name."""

    def __init__(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> None:
        self.input, self.weight, self.bias, self.groups = input, weight, bias, groups
        self.stride, self.dilation = _pair(stride), _pair(dilation)
        self.padding = padding if isinstance(padding, str) else _pair(padding)

    @property
    def is_slow(self) -> bool:
        """Whether oneDNN would be slow and `_StridedConvolution` applies."""
        reach = [self.dilation[axis] * (self.weight.shape[2 + axis] - 1) for axis in range(2)]
        return (
            self.groups > 1
            and max(self.stride) > 1
            and self.input.requires_grad
            and not self.weight.requires_grad
            and not isinstance(self.padding, str)
            and all(0 <= pad <= far for pad, far in zip(self.padding, reach, strict=True))
        )

    @property
    def is_of_a_picture(self) -> bool:
        """Whether it has a stride, few input channels, and a kernel that skips no pixel."""
        kernel = (self.weight.shape[2], self.weight.shape[3])
        return (
            self.groups == 1
            and self.weight.shape[1] <= FEW_CHANNELS
            and self.stride[0] == self.stride[1] > 1
            and self.dilation == (1, 1)
            and not isinstance(self.padding, str)
            and min(kernel) >= self.stride[0]
            and self.input.requires_grad
        )

    def unshuffle(self) -> None:
        """Move the pixels under a step of the stride into channels, in the input and the kernel."""
        step = self.stride[0]
        before, after, more = [], [], []
        for axis in (0, 1):
            length, kernel = self.input.shape[2 + axis], self.weight.shape[2 + axis]
            padding = int(self.padding[axis])
            steps = (length + 2 * padding - kernel) // step
            missing = -kernel % step
            before.append(padding)
            after.append(steps * step + kernel + missing - length - padding)
            more.append(missing)
        frame = (before[1], after[1], before[0], after[0])
        self.input = F.pixel_unshuffle(F.pad(self.input, frame), step)
        self.weight = F.pixel_unshuffle(F.pad(self.weight, (0, more[1], 0, more[0])), step)
        self.stride, self.padding = (1, 1), (0, 0)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """In the order of `torch.conv2d`."""
        return (
            self.input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    first, *rest = value
    return int(first), int(rest[0] if rest else first)
