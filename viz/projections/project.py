"""What in a real image drives a unit: projections of its activation back to the pixels.

    deconvnet    only positive gradients pass each ReLU (Zeiler and Fergus 2014)
    guided       and only where the ReLU was active (Springenberg et al. 2015)
    gradient     the plain derivative (Simonyan et al. 2014)
    activation   the unit's own map, no gradient at all

A projection starts from one activation, at the position of the image's peak. Max-pooling switches
are those of the forward pass, as autograd keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.errors import RenderError, did_you_mean
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, device_of
from viz.choices import ReluRule
from viz.objectives.objective import evaluate, point
from viz.passes.fast_ops import QuickConvolutions
from viz.passes.relu import relu_rule
from viz.passes.watch import PASS_IMAGES, Watch

__all__ = [
    "METHODS",
    "Method",
    "activation_maps",
    "parse_methods",
    "project",
    "show_activation",
    "show_signed",
]

Method = Literal["deconvnet", "guided", "gradient", "activation"]

METHODS: tuple[Method, ...] = get_args(Method)
"""All methods."""

RULE_OF: dict[str, ReluRule] = {"deconvnet": "deconvnet", "guided": "guided", "gradient": "plain"}

STRONG_QUANTILE = 0.995
"""The share of pixels that a shown projection does not clip."""

DIMMEST = 0.15
"""What is left of a pixel's brightness where the unit is silent."""


def parse_methods(text: str) -> tuple[Method, ...]:
    """Methods separated by commas, or `all`.

    Raises:
        RenderError: for an unknown one.
    """
    if text.strip() == "all":
        return METHODS
    chosen: dict[Method, None] = {}
    for name in (part.strip() for part in text.split(",")):
        found = [method for method in METHODS if method == name]
        if not found:
            raise RenderError(
                f"unknown projection {name!r}; expected {', '.join(METHODS)} or all"
                f"{did_you_mean(name, METHODS)}"
            )
        chosen[found[0]] = None
    return tuple(chosen)


def project(
    network: Network,
    layer: Layer,
    units: Sequence[int],
    pictures: Tensor,
    peaks: Sequence[tuple[int, int]],
    method: Method,
) -> Tensor:
    """Project one activation of each image back to its pixels.

    Args:
        network: in eval mode, frozen.
        layer: of the units.
        units: one per image.
        pictures: (image, channel, y, x) uint8, the network's whole input.
        peaks: grid position of the activation, one per image.
        method: one that has a gradient.

    Returns:
        (image, channel, y, x) float32: the derivative of the activation by each pixel, under the
        method's rule.

    Raises:
        RenderError: for a method without a gradient, a unit or position that is not there.
    """
    if method not in RULE_OF:
        raise RenderError(f"projection {method} has no gradient; see activation_maps")
    objectives = [point(layer, unit, y, x) for unit, (y, x) in zip(units, peaks, strict=True)]
    slopes: list[Tensor] = []
    with Watch(network, [layer], None) as watch:
        for first in range(0, len(pictures), PASS_IMAGES):
            chunk = pictures[first : first + PASS_IMAGES].to(device_of(network))
            leaf = chunk.float().requires_grad_()
            with torch.enable_grad(), relu_rule(RULE_OF[method]), QuickConvolutions():
                scores = evaluate(objectives[first : first + PASS_IMAGES], watch(leaf))
            slopes += torch.autograd.grad(scores.sum(), leaf)
    return torch.cat(slopes).cpu()


def activation_maps(network: Network, layer: Layer, units: Sequence[int], pictures: Tensor) -> Tensor:
    """One unit's activations over each image.

    Args:
        network, layer, units, pictures: as for `project`.

    Returns:
        (image, y, x) float32 on the layer's grid.
    """
    planes = []
    with Watch(network, [layer], None) as watch, torch.no_grad(), QuickConvolutions():
        for first in range(0, len(pictures), PASS_IMAGES):
            chunk = pictures[first : first + PASS_IMAGES].to(device_of(network))
            values = watch(chunk)[layer.name].values
            wanted = list(units[first : first + PASS_IMAGES])
            planes.append(values[torch.arange(len(values)), wanted].float().cpu())
    return torch.cat(planes)


def show_signed(slope: Tensor) -> Tensor:
    """A projection as a picture: grey where nothing matters, as strong as it fits.

    Args:
        slope: (channel, y, x).

    Returns:
        (channel, y, x) uint8.
    """
    strong = slope.abs().flatten().quantile(STRONG_QUANTILE).clamp(min=1e-30)
    return (127.5 + 127.5 * (slope / strong).clamp(-1, 1)).round().to(torch.uint8)


def show_activation(picture: Tensor, plane: Tensor) -> Tensor:
    """An image, bright where the unit is active and dim elsewhere.

    Args:
        picture: (channel, y, x) uint8.
        plane: (y, x) activations on the grid; what is below 0 counts as 0.

    Returns:
        (channel, y, x) uint8.
    """
    size = (picture.shape[1], picture.shape[2])
    grown = F.interpolate(plane[None, None], size, mode="bilinear", align_corners=False)[0]
    share = grown.clamp(min=0) / grown.max().clamp(min=1e-30)
    light = DIMMEST + (1 - DIMMEST) * share.clamp(0, 1)
    return (picture.float() * light).round().to(torch.uint8)
