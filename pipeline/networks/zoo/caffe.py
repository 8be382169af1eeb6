"""Networks trained in Caffe, with the layer names of their prototxt files.

VGG-S (CNN-S of Chatfield et al. 2014, "Return of the Devil in the Details"), BVLC's GoogLeNet
(Szegedy et al. 2014, with local response normalisation, without batch normalisation) and VGG-16
(Simonyan and Zisserman 2014) for its original weights. Convolutions and fully connected layers
include their ReLU, as Caffe's blobs do after an in-place one. Input: BGR minus a mean on 0..255.
Pooling rounds the size of the grid up.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.images.preprocess import Preprocess
from pipeline.networks.blueprint import Blueprint
from pipeline.networks.libraries import imagenet_classes

__all__ = ["Inception", "Rectified", "googlenet_caffe", "vgg16_caffe", "vgg_s"]

MEAN_BGR = (104.0, 117.0, 123.0)
"""Per channel, on 0..255: the rounded mean of ImageNet that Caffe's models subtract."""

MEAN_BGR_VGG16 = (103.939, 116.779, 123.68)
"""The same, unrounded, as published with VGG-16."""

INCEPTIONS: dict[str, tuple[int, ...]] = {
    "inception_3a": (192, 64, 96, 128, 16, 32, 32),
    "inception_3b": (256, 128, 128, 192, 32, 96, 64),
    "inception_4a": (480, 192, 96, 208, 16, 48, 64),
    "inception_4b": (512, 160, 112, 224, 24, 64, 64),
    "inception_4c": (512, 128, 128, 256, 24, 64, 64),
    "inception_4d": (512, 112, 144, 288, 32, 64, 64),
    "inception_4e": (528, 256, 160, 320, 32, 128, 128),
    "inception_5a": (832, 256, 160, 320, 32, 128, 128),
    "inception_5b": (832, 384, 192, 384, 48, 128, 128),
}
"""Channels in, 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection: table 1 of the paper."""


class Rectified(nn.Conv2d):
    """A convolution followed by a ReLU."""

    def forward(self, input: Tensor) -> Tensor:
        """(image, channel, y, x) to (image, unit, y, x)."""
        return functional.relu(super().forward(input))


class RectifiedLinear(nn.Linear):
    """A fully connected layer followed by a ReLU."""

    def forward(self, input: Tensor) -> Tensor:
        """(image, channel) to (image, unit)."""
        return functional.relu(super().forward(input))


class Inception(nn.Module):
    """Four parallel branches: 1x1, 3x3, 5x5, and pooling with a projection."""

    def __init__(
        self, channels: int, one: int, three_in: int, three: int, five_in: int, five: int, pool: int
    ) -> None:
        super().__init__()
        self.add_module("1x1", Rectified(channels, one, 1))
        self.add_module("3x3_reduce", Rectified(channels, three_in, 1))
        self.add_module("3x3", Rectified(three_in, three, 3, padding=1))
        self.add_module("5x5_reduce", Rectified(channels, five_in, 1))
        self.add_module("5x5", Rectified(five_in, five, 5, padding=2))
        self.pool = nn.MaxPool2d(3, 1, 1, ceil_mode=True)
        self.pool_proj = Rectified(channels, pool, 1)

    def forward(self, grid: Tensor) -> Tensor:
        """(image, channel, y, x) to (image, unit, y, x), the concatenated outputs of the branches."""
        part = self.get_submodule
        branches = [
            part("1x1")(grid),
            part("3x3")(part("3x3_reduce")(grid)),
            part("5x5")(part("5x5_reduce")(grid)),
            self.pool_proj(self.pool(grid)),
        ]
        return torch.cat(branches, 1)


def _normalisation(alpha: float, k: float) -> nn.LocalResponseNorm:
    """Across five channels; Caffe, like torch, divides alpha by their number."""
    return nn.LocalResponseNorm(5, alpha, 0.75, k)


def _pool(kernel: int, stride: int) -> nn.MaxPool2d:
    return nn.MaxPool2d(kernel, stride, ceil_mode=True)


def _googlenet() -> nn.Sequential:
    """BVLC's GoogLeNet without its auxiliary classifiers, 6,998,552 parameters."""
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=Rectified(3, 64, 7, 2, 3),
        pool1=_pool(3, 2),
        norm1=_normalisation(1e-4, 1.0),
        conv2_reduce=Rectified(64, 64, 1),
        conv2=Rectified(64, 192, 3, padding=1),
        norm2=_normalisation(1e-4, 1.0),
        pool2=_pool(3, 2),
    )
    for name, channels in INCEPTIONS.items():
        parts[name] = Inception(*channels)
        if name in ("inception_3b", "inception_4e"):
            parts[f"pool{name[10]}"] = _pool(3, 2)
    parts["pool5"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    parts["classifier"] = nn.Linear(1024, 1000)
    return nn.Sequential(parts)


def _vgg_s() -> nn.Sequential:
    """CNN-S, 102,908,520 parameters."""
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=Rectified(3, 96, 7, 2),
            norm1=_normalisation(5e-4, 2.0),
            pool1=_pool(3, 3),
            conv2=Rectified(96, 256, 5),
            pool2=_pool(2, 2),
            conv3=Rectified(256, 512, 3, padding=1),
            conv4=Rectified(512, 512, 3, padding=1),
            conv5=Rectified(512, 512, 3, padding=1),
            pool5=_pool(3, 3),
            flatten=nn.Flatten(),
            fc6=RectifiedLinear(512 * 6 * 6, 4096),
            fc7=RectifiedLinear(4096, 4096),
            fc8=nn.Linear(4096, 1000),
        )
    )


def _vgg16() -> nn.Sequential:
    """VGG-16, 138,357,544 parameters."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 3
    for stage, (count, width) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], 1):
        for number in range(1, count + 1):
            parts[f"conv{stage}_{number}"] = Rectified(channels, width, 3, padding=1)
            channels = width
        parts[f"pool{stage}"] = _pool(2, 2)
    parts["flatten"] = nn.Flatten()
    parts["fc6"] = RectifiedLinear(512 * 7 * 7, 4096)
    parts["fc7"] = RectifiedLinear(4096, 4096)
    parts["fc8"] = nn.Linear(4096, 1000)
    return nn.Sequential(parts)


def _input(mean: tuple[float, ...]) -> Preprocess:
    """Short side 256, centre 224, BGR."""
    return Preprocess(224, 224, 256, "bilinear", mean, (1.0, 1.0, 1.0), "bgr")


def _googlenet_name(name: str) -> str:
    """Rename `inception_3a/3x3.weight` to `inception_3a.3x3.weight`, and the layers of the stem."""
    stem = {
        "conv1/7x7_s2": "conv1",
        "conv2/3x3_reduce": "conv2_reduce",
        "conv2/3x3": "conv2",
        "loss3/classifier": "classifier",
    }
    layer, _, part = name.rpartition(".")
    return f"{stem.get(layer, layer.replace('/', '.'))}.{part}"


def vgg_s() -> Blueprint:
    """VGG-S (CNN-S)."""
    return Blueprint(
        name="vgg_s",
        build=lambda _: _vgg_s(),
        publish=None,
        source="--weights VGG_CNN_S.caffemodel (robots.ox.ac.uk/~vgg/research/deep_eval)",
        preprocess=_input(MEAN_BGR),
        classes=imagenet_classes(),
        default_layers=("conv[1-5]", "fc[678]"),
    )


def googlenet_caffe() -> Blueprint:
    """BVLC's GoogLeNet."""
    return Blueprint(
        name="googlenet_caffe",
        build=lambda _: _googlenet(),
        publish=None,
        source="--weights bvlc_googlenet.caffemodel (dl.caffe.berkeleyvision.org)",
        preprocess=_input(MEAN_BGR),
        classes=imagenet_classes(),
        default_layers=("conv[12]", "inception_[345][a-e]", "classifier"),
        renames=_googlenet_name,
    )


def vgg16_caffe() -> Blueprint:
    """VGG-16 with the weights and preprocessing of its authors."""
    return Blueprint(
        name="vgg16_caffe",
        build=lambda _: _vgg16(),
        publish=None,
        source="--weights VGG_ILSVRC_16_layers.caffemodel (robots.ox.ac.uk/~vgg)",
        preprocess=_input(MEAN_BGR_VGG16),
        classes=imagenet_classes(),
        default_layers=("conv?_?", "fc[678]"),
    )
