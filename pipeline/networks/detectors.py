"""Detectors and segmenters of torchvision, as far as their layers see images.

Of a detector those layers are built that see images: its backbone and its heads on the backbone's
maps. What follows sees proposals, of which an image has any number, so that it has no peaks per image.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import UnknownNetwork
from pipeline.images.preprocess import Preprocess
from pipeline.networks.blueprint import Blueprint
from pipeline.networks.libraries import download, on_255
from pipeline.vision_libraries import torchvision

__all__ = [
    "DetectorTrunk",
    "SegmenterTrunk",
    "detector_names",
    "segmenter_names",
    "torchvision_dense_blueprint",
]


@functools.cache
def detector_names() -> tuple[str, ...]:
    """The detectors of torchvision."""
    return tuple(torchvision().models.list_models(module=torchvision().models.detection))


@functools.cache
def segmenter_names() -> tuple[str, ...]:
    """The segmenters of torchvision."""
    return tuple(torchvision().models.list_models(module=torchvision().models.segmentation))


class DetectorTrunk(nn.Module):
    """The layers of a detector of torchvision that see images, under their own names.

    Args:
        detector: shares its modules with the trunk.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone = detector.get_submodule("backbone")
        self.in_two_stages = hasattr(detector, "rpn")
        if self.in_two_stages:
            self.rpn = nn.ModuleDict({"head": detector.get_submodule("rpn.head")})
        else:
            self.head = detector.get_submodule("head")

    def forward(self, batch: Tensor) -> Any:
        """The outputs of the head on every map of the backbone.

        Args:
            batch: (image, channel, y, x), normalised as the detector does.
        """
        maps = self.backbone(batch)
        levels = [maps] if isinstance(maps, Tensor) else list(maps.values())
        return self.rpn["head"](levels) if self.in_two_stages else self.head(levels)


class SegmenterTrunk(nn.Module):
    """A segmenter of torchvision up to its classifier, without the enlargement of the classifier's maps.

    The auxiliary classifier, which is used in training only, is left out.

    Args:
        segmenter: shares its modules with the trunk.
    """

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.backbone = segmenter.get_submodule("backbone")
        self.classifier = segmenter.get_submodule("classifier")
        self.takes_all_maps = type(segmenter).__name__ == "LRASPP"

    def forward(self, batch: Tensor) -> Any:
        """(image, class, y, x) on the grid of the backbone's last map.

        Args:
            batch: (image, channel, y, x), normalised.
        """
        maps = self.backbone(batch)
        return self.classifier(maps if self.takes_all_maps else maps["out"])


def torchvision_dense_blueprint(name: str) -> Blueprint:
    """The blueprint of a detector or segmenter of torchvision.

    Raises:
        UnknownNetwork: if torchvision has no such model.
    """
    if name in detector_names():
        return _detector(name)
    if name in segmenter_names():
        return _segmenter(name)
    raise UnknownNetwork(f"torchvision has no detector or segmenter {name!r}")


def _blueprint(
    name: str,
    weights: Any,
    trunk: Callable[[nn.Module], nn.Module],
    preprocess: Preprocess,
    notes: tuple[str, ...],
    classes: tuple[str, ...] | None = None,
) -> Blueprint:
    models = torchvision().models

    def build(_: Preprocess) -> nn.Module:
        return trunk(models.get_model(name, weights=None, weights_backbone=None))

    def publish(_: Preprocess) -> tuple[nn.Module, str]:
        module = download(name, lambda: models.get_model(name, weights=weights, weights_backbone=None))
        return trunk(module), f"torchvision {weights}"

    return Blueprint(
        name=f"torchvision:{name}",
        build=build,
        publish=publish,
        source=f"downloaded by torchvision ({weights.name})",
        preprocess=preprocess,
        classes=classes,
        notes=tuple(f"torchvision:{name}: {note}" for note in notes),
    )


def _square_of(side: int, what: str) -> str:
    return (
        f"an image is resized to a short side of {side} px and its centre is used; the {what} takes all of it"
    )


def _detector(name: str) -> Blueprint:
    weights = torchvision().models.get_model_weights(name).DEFAULT
    detector = _without_weights(name)
    transform = detector.transform
    fixed = transform.fixed_size
    # Several sizes are for training; evaluation takes the last.
    side = fixed[0] if fixed else transform.min_size[-1]
    notes: tuple[str, ...] = () if fixed else (_square_of(side, "detector"),)
    if hasattr(detector, "roi_heads"):
        notes += ("roi_heads is left out: it sees proposals, of which an image has any number",)
    preprocess = Preprocess(
        height=side,
        width=side,
        resize=side,
        interpolation="bilinear",
        mean=on_255(transform.image_mean),
        std=on_255(transform.image_std),
        fit="squash" if fixed else "crop",
    )
    return _blueprint(name, weights, DetectorTrunk, preprocess, notes)


@functools.cache
def _without_weights(name: str) -> Any:
    """A detector whose tensors take no memory, for its options."""
    with torch.device("meta"):
        return torchvision().models.get_model(name, weights=None, weights_backbone=None)


def _segmenter(name: str) -> Blueprint:
    weights = torchvision().models.get_model_weights(name).DEFAULT
    transform = weights.transforms()
    side = transform.resize_size[0]
    preprocess = Preprocess(
        height=side,
        width=side,
        resize=side,
        interpolation="bilinear",
        mean=on_255(transform.mean),
        std=on_255(transform.std),
    )
    classes = tuple(weights.meta["categories"])
    return _blueprint(name, weights, SegmenterTrunk, preprocess, (_square_of(side, "segmenter"),), classes)
