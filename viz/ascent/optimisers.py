"""Update rules: how values move along their gradients.

All work image by image. `Adam` moves what is unbounded (spectra, phases), the others keep their
values in bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from viz.pixels import blur, denoise

__all__ = ["Adam", "BlurredSteps", "DeepvisSteps", "Optimiser", "ShrinkingSteps"]

MOMENTS = (0.9, 0.999)
"""Decay of Adam's first and second moment, its authors' and Lucid's."""

EPSILON = 1e-8
"""Keeps Adam from dividing by zero."""

NESTEROV_DECAY = 0.004
"""Momentum decay of NAdam (Dozat 2016, as in PyTorch)."""

TINY = 1e-30
"""Smallest size by which a gradient is divided, so that one of all zeros stays so."""


class Optimiser:
    """Moves values (image, ...) so that their scores rise."""

    def scale_view(self, gradient: Tensor) -> Tensor:
        """Scale the gradient by what the network was shown, before it is carried back to values."""
        return gradient

    def step(self, values: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The values after a step, counted from 0."""
        raise NotImplementedError

    def keep(self, places: Sequence[int]) -> None:
        """Go on with some of the images."""

    def state(self) -> dict[str, Any]:
        """What is carried from one step to the next."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""


class Adam(Optimiser):
    """Adam on gradients of unit root mean square; with `nesterov` it is NAdam.

    Args:
        rate: of a step, or the rates of all steps.
        nesterov: look ahead, as NAdam does.
        moments: decay of the first and of the second moment.
        bounds: least and largest value; None is without bounds.
    """

    def __init__(
        self,
        rate: float | Sequence[float],
        *,
        nesterov: bool = False,
        moments: tuple[float, float] = MOMENTS,
        bounds: tuple[float, float] | None = None,
    ) -> None:
        self.rate, self.nesterov, self.moments, self.bounds = rate, nesterov, moments, bounds
        self.first, self.second = torch.empty(0), torch.empty(0)
        self.product = 1.0

    def step(self, values: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The values after a step."""
        if step == 0:
            self.first, self.second = torch.zeros_like(values), torch.zeros_like(values)
        slow, slower = self.moments
        rate = self.rate if isinstance(self.rate, float | int) else self.rate[step]
        gradient, count = _unit_rms(gradient), step + 1
        self.first.lerp_(gradient, 1 - slow)
        self.second.mul_(slower).addcmul_(gradient, gradient, value=1 - slower)
        size = self.second.sqrt().div_(math.sqrt(1 - slower**count)).add_(EPSILON)
        if not self.nesterov:
            moved = values.addcdiv(self.first, size, value=rate / (1 - slow**count))
            return moved if self.bounds is None else moved.clamp_(*self.bounds)
        now, following = (
            slow * (1 - 0.5 * math.pow(0.96, each * NESTEROV_DECAY)) for each in (count, count + 1)
        )
        self.product *= now
        ahead = (1 - now) / (1 - self.product) * gradient
        ahead = ahead + following / (1 - self.product * following) * self.first
        moved = values.addcdiv(ahead, size, value=rate)
        return moved if self.bounds is None else moved.clamp_(*self.bounds)

    def keep(self, places: Sequence[int]) -> None:
        """Go on with some of the images' moments."""
        self.first, self.second = self.first[places], self.second[places]

    def state(self) -> dict[str, Any]:
        """The moments."""
        return {"first": self.first, "second": self.second, "product": self.product}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue with these moments."""
        self.first, self.second, self.product = state["first"], state["second"], state["product"]


class BlurredSteps(Optimiser):
    """Steps of given lengths in pixels on 0..255, each followed by a blur.

    Args:
        lengths: of each step, the mean absolute change of a pixel that the network was shown.
        sigmas: of each step, the blur's standard deviation in pixels.
        variation: strength of total-variation denoising after each step; 0 is none.
    """

    def __init__(self, lengths: Sequence[float], sigmas: Sequence[float], variation: float = 0.0) -> None:
        self.lengths, self.sigmas, self.variation = lengths, sigmas, variation

    def scale_view(self, gradient: Tensor) -> Tensor:
        """Scale each image's gradient to a mean absolute value of 1."""
        return gradient / _mean_size(gradient)

    def step(self, values: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The pictures after a step."""
        moved = (values + self.lengths[step] * gradient).clamp_(0, 255)
        return denoise(blur(moved, self.sigmas[step]), self.variation)


class ShrinkingSteps(Optimiser):
    """Steps of given lengths on values that shrink towards 0 and stay within bounds.

    Args:
        lengths: of each step, the mean absolute change of a value.
        shrink: factor on the values after each step.
        lower: (...) least values.
        upper: likewise the largest.
    """

    def __init__(self, lengths: Sequence[float], shrink: float, lower: Tensor, upper: Tensor) -> None:
        self.lengths, self.shrink = lengths, shrink
        self.lower, self.upper = lower, upper

    def step(self, values: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The values after a step."""
        moved = values + self.lengths[step] * gradient / _mean_size(gradient)
        return (self.shrink * moved).clamp(self.lower, self.upper)


class DeepvisSteps(Optimiser):
    """Plain gradient steps on pixels under the regularisations of Yosinski et al. 2015.

    Args:
        mean: (1, channel, 1, 1) mean colour of the dataset on 0..255.
        rate: of a step; the largest, where `progress` is given.
        progress: when not 0, the rate is this over the gradient's squared norm.
        decay: share of the distance to the mean colour that a pixel loses in each step.
        sigma: of the blur, in pixels; 0 is none.
        blur_every: steps between two blurs.
        zero_norm: per cent of pixels, those nearest to the mean colour, that become it.
        zero_contribution: per cent of pixels, those that contribute least, likewise.
    """

    def __init__(
        self,
        mean: Tensor,
        *,
        rate: float,
        progress: float,
        decay: float,
        sigma: float,
        blur_every: int,
        zero_norm: float,
        zero_contribution: float,
    ) -> None:
        self.mean, self.rate, self.progress, self.decay = mean, rate, progress, decay
        self.sigma, self.blur_every = sigma, blur_every
        self.zero_norm, self.zero_contribution = zero_norm, zero_contribution

    def step(self, values: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The pictures after a step."""
        moved = (values + self._rate(gradient) * gradient).clamp(0, 255)
        moved = self.mean + (1 - self.decay) * (moved - self.mean)
        if self.sigma and step % self.blur_every == self.blur_every - 1:
            moved = blur(moved, self.sigma)
        offsets = moved - self.mean
        if self.zero_norm:
            offsets = _without_least(offsets, offsets.norm(dim=1), self.zero_norm)
        if self.zero_contribution:
            contribution = (offsets * gradient).sum(1).abs()
            offsets = _without_least(offsets, contribution, self.zero_contribution)
        return self.mean + offsets

    def _rate(self, gradient: Tensor) -> Tensor:
        """(image, 1, 1, 1) rate of each image's step."""
        squared = gradient.flatten(1).square().sum(1).clamp(min=TINY).view(-1, 1, 1, 1)
        if not self.progress:
            return torch.full_like(squared, self.rate)
        return (self.progress / squared).clamp(max=self.rate)


def _without_least(offsets: Tensor, size: Tensor, percent: float) -> Tensor:
    """Zero the pixels whose size (image, y, x) is among the least of their picture."""
    least = size.flatten(1).quantile(percent / 100, dim=1).view(-1, 1, 1)
    return offsets * (size >= least)[:, None]


def _unit_rms(gradient: Tensor) -> Tensor:
    """Scale each image's gradient to a root mean square of 1; all zero stays zero."""
    flat = gradient.flatten(1)
    size = flat.norm(dim=1).div_(math.sqrt(flat.shape[1])).clamp_(min=TINY)
    scaled: Tensor = gradient / size.view(-1, *[1] * (gradient.ndim - 1))
    return scaled


def _mean_size(gradient: Tensor) -> Tensor:
    """(image, 1, ...) mean absolute value of each image's gradient."""
    size = gradient.abs().flatten(1).mean(1).clamp(min=TINY)
    return size.view(-1, *[1] * (gradient.ndim - 1))
