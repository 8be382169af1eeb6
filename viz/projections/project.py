"""Project an activation of a unit back to the pixels of a real image.

    deconvnet    each ReLU passes only positive gradients (Zeiler and Fergus 2014)
    guided       and only where its input was positive (Springenberg et al. 2015)
    gradient     the derivative (Simonyan et al. 2014)
    activation   the activation map of the unit, without a gradient

A projection starts from one activation, at the position of the image's peak. Max pooling passes
gradients to the positions of the maxima in the forward pass, as usual in autograd.
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
    "DEFAULT_METHODS",
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

DEFAULT_METHODS: tuple[Method, ...] = ("activation", "guided")
"""Rows of a page where none are asked for. In deep networks with few ReLUs, `deconvnet` is much the same for
every image and unit, and the plain gradient mostly noise."""
"""All methods, in the order of `all`."""

RELU_RULES: dict[str, ReluRule] = {"deconvnet": "deconvnet", "guided": "guided", "gradient": "plain"}

STRONG_QUANTILE = 0.995
"""Quantile of the absolute values of a projection that is drawn at full contrast."""

MIN_BRIGHTNESS = 0.15
"""Factor of the brightness of pixels where the unit is not active."""


def parse_methods(text: str) -> tuple[Method, ...]:
    """Parse names of methods separated by commas, or `all`.

    Raises:
        RenderError: for an unknown method.
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
        layer: the layer of the units.
        units: one per image.
        pictures: (image, channel, y, x) uint8, the network's whole input.
        peaks: grid position of the activation, one per image.
        method: any but `activation`.

    Returns:
        (image, channel, y, x) float32 on the CPU: the derivative of the activation with respect to
        each pixel, with the ReLU rule of the method.

    Raises:
        RenderError: for the method `activation`, or a unit or position that does not exist.
    """
    if method not in RELU_RULES:
        raise RenderError(f"projection {method!r} has no gradient; expected {', '.join(RELU_RULES)}")
    objectives = [point(layer, unit, y, x) for unit, (y, x) in zip(units, peaks, strict=True)]
    slopes: list[Tensor] = []
    with Watch(network, [layer], None) as watch:
        for first in range(0, len(pictures), PASS_IMAGES):
            chunk = pictures[first : first + PASS_IMAGES].to(device_of(network))
            leaf = chunk.float().requires_grad_()
            with torch.enable_grad(), relu_rule(RELU_RULES[method]), QuickConvolutions():
                scores = evaluate(objectives[first : first + PASS_IMAGES], watch(leaf))
            slopes += torch.autograd.grad(scores.sum(), leaf)
    return torch.cat(slopes).cpu()


def activation_maps(network: Network, layer: Layer, units: Sequence[int], pictures: Tensor) -> Tensor:
    """Compute the activation map of one unit for each image.

    Args:
        network, layer, units, pictures: as for `project`.

    Returns:
        (image, y, x) float32 on the grid of the layer, on the CPU.

    Raises:
        RenderError: if it is not known where the layer's positions are.
    """
    if layer.positions == "unknown":
        raise RenderError(
            f"{layer.name} has no activation maps: where its positions are is not known; give other methods"
        )
    planes = []
    with Watch(network, [layer], None) as watch, torch.no_grad(), QuickConvolutions():
        for first in range(0, len(pictures), PASS_IMAGES):
            chunk = pictures[first : first + PASS_IMAGES].to(device_of(network))
            values = watch(chunk)[layer.name].values
            wanted = list(units[first : first + PASS_IMAGES])
            planes.append(values[torch.arange(len(values)), wanted].float().cpu())
    return torch.cat(planes)


def show_signed(slope: Tensor) -> Tensor:
    """Draw a projection as a picture in which grey is 0, with maximum contrast.

    Args:
        slope: (channel, y, x), the projection of one image.

    Returns:
        (channel, y, x) uint8.
    """
    strong = slope.abs().flatten().quantile(STRONG_QUANTILE).clamp(min=1e-30)
    return (127.5 + 127.5 * (slope / strong).clamp(-1, 1)).round().to(torch.uint8)


def show_activation(picture: Tensor, plane: Tensor) -> Tensor:
    """Darken an image where the unit is not active.

    Args:
        picture: (channel, y, x) uint8.
        plane: (y, x) activations on the grid of the layer; negative ones count as 0.

    Returns:
        (channel, y, x) uint8.
    """
    size = (picture.shape[1], picture.shape[2])
    enlarged = F.interpolate(plane[None, None], size, mode="bilinear", align_corners=False)[0]
    share = enlarged.clamp(min=0) / enlarged.max().clamp(min=1e-30)
    brightness = MIN_BRIGHTNESS + (1 - MIN_BRIGHTNESS) * share.clamp(0, 1)
    return (picture.float() * brightness).round().to(torch.uint8)
