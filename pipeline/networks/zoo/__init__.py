"""Networks that are in neither torchvision nor timm."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.networks.blueprint import Blueprint
from pipeline.networks.zoo.caffe import googlenet_caffe, vgg16_caffe, vgg_s
from pipeline.networks.zoo.efficientnet_lite import lite0, lite1, lite2
from pipeline.networks.zoo.inception import inception_v1

__all__ = ["KNOWN"]

KNOWN: Mapping[str, Callable[[], Blueprint]] = {
    "efficientnet_lite0": lite0,
    "efficientnet_lite1": lite1,
    "efficientnet_lite2": lite2,
    "googlenet_caffe": googlenet_caffe,
    "inception_v1": inception_v1,
    "vgg16_caffe": vgg16_caffe,
    "vgg_s": vgg_s,
}
"""maxact's own networks, by name."""
