"""The Inception v1 of Lucid, OpenAI Microscope and the Circuits articles.

Google's own trained GoogLeNet, known as `inception5h`: 508 channels in mixed4a, 1008 classes,
TensorFlow's asymmetric padding, and local response normalisation with a radius of 5, bias 2,
alpha 1e-4 (per channel, not divided by their number) and beta 0.5, as in its published graph.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from pipeline.images.preprocess import Preprocess
from pipeline.networks.blueprint import Blueprint
from pipeline.networks.zoo.caffe import Inception, Rectified

__all__ = ["inception_v1"]

MIXED: dict[str, tuple[int, ...]] = {
    "mixed3a": (192, 64, 96, 128, 16, 32, 32),
    "mixed3b": (256, 128, 128, 192, 32, 96, 64),
    "mixed4a": (480, 192, 96, 204, 16, 48, 64),
    "mixed4b": (508, 160, 112, 224, 24, 64, 64),
    "mixed4c": (512, 128, 128, 256, 24, 64, 64),
    "mixed4d": (512, 112, 144, 288, 32, 64, 64),
    "mixed4e": (528, 256, 160, 320, 32, 128, 128),
    "mixed5a": (832, 256, 160, 320, 48, 128, 128),
    "mixed5b": (832, 384, 192, 384, 48, 128, 128),
}
"""Channels in, 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection, from the published graph."""

NORMALISED = 11
"""Size of the normalisation window in channels: TensorFlow's depth_radius of 5 on both sides."""

MEAN = (117.0, 117.0, 117.0)
"""On 0..255; the network's input runs from -117 to 138."""

POOL_AFTER = {"mixed3b": "maxpool4", "mixed4e": "maxpool10"}

PARTS = {
    "3x3_bottleneck": "3x3_reduce",
    "5x5_bottleneck": "5x5_reduce",
    "pool_reduce": "pool_proj",
}
"""Names of the parts of an inception module: in the published graph, and here."""


def _pool() -> nn.MaxPool2d:
    """TensorFlow's `SAME` padding on an even grid, which pads only at the bottom and right."""
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def _normalisation() -> nn.LocalResponseNorm:
    return nn.LocalResponseNorm(NORMALISED, 1e-4 * NORMALISED, 0.5, 2.0)


def _build() -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        pad=nn.ZeroPad2d((2, 3, 2, 3)),
        conv2d0=Rectified(3, 64, 7, 2),
        maxpool0=_pool(),
        localresponsenorm0=_normalisation(),
        conv2d1=Rectified(64, 64, 1),
        conv2d2=Rectified(64, 192, 3, padding=1),
        localresponsenorm1=_normalisation(),
        maxpool1=_pool(),
    )
    for name, channels in MIXED.items():
        parts[name] = Inception(*channels)
        if name in POOL_AFTER:
            parts[POOL_AFTER[name]] = _pool()
    parts["avgpool0"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    parts["softmax2"] = nn.Linear(1024, 1008)
    return nn.Sequential(parts)


def _name(name: str) -> str:
    """Rename `mixed3a_3x3_bottleneck_pre_relu_conv.weight` to `mixed3a.3x3_reduce.weight`."""
    layer, _, part = name.rpartition(".")
    layer = layer.removesuffix("_conv").removesuffix("_pre_relu")
    layer = layer.removesuffix("_pre_activation_matmul")
    block, _, inside = layer.partition("_")
    if block in MIXED and inside:
        layer = f"{block}.{PARTS.get(inside, inside)}"
    return f"{layer}.{part}"


def inception_v1() -> Blueprint:
    """Lucid's Inception v1."""
    return Blueprint(
        name="inception_v1",
        build=lambda _: _build(),
        publish=None,
        source="--weights FILE, a conversion of inception5h such as Lucent's (.pth)",
        preprocess=Preprocess(224, 224, 224, "bilinear", MEAN, (1.0, 1.0, 1.0)),
        default_layers=("conv2d[012]", "mixed[345][a-e]", "softmax2"),
        renames=_name,
    )
