"""Change the gradient or slope of every ReLU of a network without changing its modules.

    with relu_rule("leaky"):
        scores = network(images)          # forward and backward follow the rule

A `TorchFunctionMode` intercepts the calls, so that `nn.ReLU` modules, `nn.ReLU6` and functional calls
(torchvision's GoogLeNet) are all covered. In all rules, the gradient is that of a score that is
maximised. GELU and SiLU fall towards their minimum, at -0.75 and -1.28: below it, the plain gradient moves
a neuron further away from where it is active.

    plain        as the network was trained
    leaky        slope 0.01 outside the linear part, forward and backward
    redirected   if the gradient of an image would be zero everywhere, pass on what moves the ReLU
                 out of its flat part (Lucid, `redirected_relu_grad`); likewise for GELU and SiLU, if
                 none of the values on which the score of an image depends is in the rising part
    deconvnet    only positive gradients pass, wherever the input was (Zeiler and Fergus 2014)
    guided       only positive gradients pass, and only where the input was in the linear part
                 (Springenberg et al. 2015)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pipeline.errors import RenderError, did_you_mean
from viz.choices import RULES, ReluRule

__all__ = ["LEAKY_SLOPE", "relu_rule"]

LEAKY_SLOPE = 0.01
"""Slope of the leaky rule outside the linear part."""


class _Leaky(torch.autograd.Function):
    """Slope 1 between `low` and `high`, `LEAKY_SLOPE` outside."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, low: float, high: float) -> Tensor:
        inside = values.clamp(low, high)
        ctx.save_for_backward((values >= low) & (values <= high))
        return torch.lerp(inside, values, LEAKY_SLOPE)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (linear,) = ctx.saved_tensors
        return torch.where(linear, gradient, gradient * LEAKY_SLOPE), None, None


class _Redirected(torch.autograd.Function):
    """Plain, but an image whose gradient would be all zero gets the one that leads to the linear part."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, low: float, high: float) -> Tensor:
        result = values.clamp(low, high)
        ctx.save_for_backward(result)
        ctx.bounds = low, high
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (result,) = ctx.saved_tensors
        low, high = ctx.bounds
        plain: Tensor = torch.ops.aten.hardtanh_backward(gradient, result, low, high)
        # Nearly always the middle position is enough to see that no image has a zero gradient.
        height, width = plain.shape[2:] if plain.ndim == 4 else (0, 0)
        if _has_gradient(plain[:, :, height // 2, width // 2] if height else plain).all():
            return plain, None, None
        passes = _has_gradient(plain).view(-1, *[1] * (plain.ndim - 1))
        pushes_out = ((result <= low) & (gradient < 0)) | ((result >= high) & (gradient > 0))
        return torch.where(passes, plain, gradient.masked_fill(pushes_out, 0)), None, None


class _RedirectedInPlace(_Redirected):
    """The same without a copy."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, low: float, high: float) -> Tensor:
        values.clamp_(low, high)
        ctx.mark_dirty(values)
        ctx.save_for_backward(values)
        ctx.bounds = low, high
        return values


class _RedirectedSmooth(torch.autograd.Function):
    """GELU or SiLU; an image of which all that matters is in the falling part gets the slope 1 instead."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, approximate: str | None) -> Tensor:
        ctx.save_for_backward(values)
        ctx.approximate = approximate
        return F.silu(values) if approximate is None else F.gelu(values, approximate=approximate)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (values,) = ctx.saved_tensors
        if ctx.approximate is None:
            plain: Tensor = torch.ops.aten.silu_backward(gradient, values)
        else:
            plain = torch.ops.aten.gelu_backward(gradient, values, approximate=ctx.approximate)
        rises = (plain * gradient > 0).flatten(1).any(1).view(-1, *[1] * (plain.ndim - 1))
        # A value that should fall is moved to the minimum by the plain gradient.
        return torch.where(rises | (gradient < 0), plain, gradient), None


def _has_gradient(gradient: Tensor) -> Tensor:
    """Whether any value of an image's gradient is not zero, (image,)."""
    return gradient.ne(0).flatten(1).any(1)


class _Deconvnet(torch.autograd.Function):
    """Backward: the ReLU of the gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, low: float, high: float) -> Tensor:
        return values.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient.clamp(min=0), None, None


class _Guided(torch.autograd.Function):
    """Backward: the ReLU of the gradient, where the input was in the linear part."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward((values > low) & (values < high))
        return values.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (linear,) = ctx.saved_tensors
        return gradient.clamp(min=0) * linear, None, None


_FUNCTIONS: Mapping[str, type[torch.autograd.Function]] = {
    "leaky": _Leaky,
    "redirected": _Redirected,
    "deconvnet": _Deconvnet,
    "guided": _Guided,
}

_RELU = frozenset({F.relu, torch.relu, Tensor.relu})
_RELU_IN_PLACE = frozenset({F.relu_, torch.relu_, Tensor.relu_})
_HARDTANH = frozenset({F.hardtanh})
_HARDTANH_IN_PLACE = frozenset({F.hardtanh_})
_RELU6 = frozenset({F.relu6})
_GELU = frozenset({F.gelu})
_SILU = frozenset({F.silu})


class _Rule(TorchFunctionMode):
    """Replaces every ReLU by one autograd function."""

    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function = function

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        bounds = _bounds(func, args, kwargs)
        smooth = self.function is _Redirected and (func in _GELU or func in _SILU)
        if bounds is None and not smooth:
            return func(*args, **kwargs)
        values: Tensor = args[0] if args else kwargs["input"]
        in_place = _in_place(func, args, kwargs)
        if bounds is None:
            approximate = kwargs.get("approximate", "none") if func in _GELU else None
            # The values are needed for the gradient, and overwritten where the call is in place.
            kept = values.clone() if in_place else values
            result = _RedirectedSmooth.apply(kept, approximate)  # type: ignore[no-untyped-call]
            return values.copy_(result) if in_place else result
        if self.function is _Leaky and bounds == (0.0, math.inf):
            return F.leaky_relu(values, LEAKY_SLOPE, in_place)
        if self.function is _Redirected and in_place and not values._is_view():
            return _RedirectedInPlace.apply(values, *bounds)  # type: ignore[no-untyped-call]
        result = self.function.apply(values, *bounds)  # type: ignore[no-untyped-call]
        if not in_place:
            return result
        # The caller may use the tensor that it passed instead of the returned one.
        return values.copy_(result)


def _bounds(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[float, float] | None:
    """The linear part of a ReLU-like function; None for other functions, and if it does not start at 0."""
    if func in _RELU or func in _RELU_IN_PLACE:
        return 0.0, math.inf
    if func in _RELU6:
        return 0.0, 6.0
    if func in _HARDTANH or func in _HARDTANH_IN_PLACE:
        low = args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)
        high = args[2] if len(args) > 2 else kwargs.get("max_val", 1.0)
        return (float(low), float(high)) if low == 0 else None
    return None


def _in_place(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    if func in _RELU_IN_PLACE or func in _HARDTANH_IN_PLACE:
        return True
    if func in _GELU:
        return False
    place = 3 if func in _HARDTANH else 1
    return bool(args[place] if len(args) > place else kwargs.get("inplace", False))


def relu_rule(rule: ReluRule) -> AbstractContextManager[object]:
    """A context in which every ReLU, and its backward pass, follows a rule.

    Args:
        rule: one of `viz.choices.RULES`.

    Returns:
        The context manager.

    Raises:
        RenderError: for an unknown rule.
    """
    if rule == "plain":
        return nullcontext()
    if rule not in _FUNCTIONS:
        raise RenderError(
            f"unknown ReLU rule {rule!r}; expected one of {', '.join(RULES)}{did_you_mean(rule, RULES)}"
        )
    return _Rule(_FUNCTIONS[rule])
