"""Blueprints of the networks in torchvision and timm."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from torch import nn

from pipeline.errors import NetworkError, UnknownNetwork, did_you_mean
from pipeline.images.preprocess import Interpolation, Preprocess
from pipeline.networks.blueprint import Blueprint
from pipeline.vision_libraries import timm, torchvision

__all__ = [
    "imagenet_classes",
    "timm_blueprint",
    "timm_names",
    "timm_preprocess",
    "torchvision_blueprint",
    "torchvision_names",
]

PUBLISHED_FORM: dict[str, dict[str, bool]] = {
    "googlenet": {"transform_input": True, "aux_logits": False, "init_weights": True},
    "inception_v3": {"transform_input": True, "aux_logits": False, "init_weights": True},
}
"""Options that torchvision sets only when it loads published weights, needed for models built
without them: the published GoogLeNet and Inception v3 rescale their input themselves."""

DOWNLOAD_HINT = (
    "give --weights FILE with a file you already have (safetensors, .pth, .caffemodel, .onnx), "
    "or --weights random for an untrained network"
)


@functools.cache
def torchvision_names() -> tuple[str, ...]:
    """The classification models of torchvision."""
    models = torchvision().models
    return tuple(models.list_models(module=models))


@functools.cache
def timm_names() -> tuple[str, ...]:
    """The architectures of timm."""
    return tuple(timm().list_models())


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """The 1000 ImageNet class names, in the order of the classifier's units."""
    weights = torchvision().models.get_model_weights("resnet50").DEFAULT
    return tuple(weights.meta["categories"])


def _on_255(values: Any) -> tuple[float, ...]:
    """Convert means or standard deviations from 0..1 to 0..255."""
    return tuple(round(float(value) * 255, 6) for value in values)


def _interpolation(name: str) -> Interpolation:
    """The closest supported filter; timm's `lanczos` and `random` become bicubic."""
    return "bilinear" if name == "bilinear" else "bicubic"


def _download(name: str, fetch: Callable[[], Any]) -> Any:
    """Call a library's download; any failure becomes a NetworkError of one line."""
    try:
        return fetch()
    # The libraries fetch through urllib, requests, httpx or hf_hub, which share no base class.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise NetworkError(
            f"could not download the published weights of {name}: {reason}; {DOWNLOAD_HINT}"
        ) from error


def torchvision_blueprint(name: str) -> Blueprint:
    """The blueprint of a torchvision classification model, preprocessed as its weights specify.

    Raises:
        NetworkError: if torchvision has no such model.
    """
    if name not in torchvision_names():
        raise UnknownNetwork(
            f"torchvision has no classification model {name!r}{did_you_mean(name, torchvision_names())}"
        )
    models = torchvision().models
    weights = models.get_model_weights(name).DEFAULT
    transform = weights.transforms()
    crop = transform.crop_size[0]

    def options(preprocess: Preprocess) -> dict[str, int]:
        return {"image_size": preprocess.height} if name.startswith("vit_") else {}

    def build(preprocess: Preprocess) -> nn.Module:
        form = {**PUBLISHED_FORM.get(name, {}), **options(preprocess)}
        module: nn.Module = models.get_model(name, weights=None, **form)
        return module

    def publish(preprocess: Preprocess) -> tuple[nn.Module, str]:
        if not options(preprocess) or preprocess.height == crop:
            module = _download(name, lambda: models.get_model(name, weights=weights))
        else:
            module = build(preprocess)
            state = _download(name, lambda: weights.get_state_dict(check_hash=True))
            fitted = models.vision_transformer.interpolate_embeddings(
                preprocess.height, module.patch_size, state
            )
            module.load_state_dict(fitted)
        return module, f"torchvision {weights}"

    return Blueprint(
        name=f"torchvision:{name}",
        build=build,
        publish=publish,
        source=f"downloaded by torchvision ({weights.name})",
        preprocess=Preprocess(
            height=crop,
            width=crop,
            resize=transform.resize_size[0],
            interpolation=_interpolation(transform.interpolation.value),
            mean=_on_255(transform.mean),
            std=_on_255(transform.std),
        ),
        classes=tuple(weights.meta["categories"]),
    )


def timm_preprocess(config: dict[str, Any]) -> Preprocess:
    """Convert a timm data configuration to a preprocessing.

    Args:
        config: of `timm.data.resolve_data_config`: input_size, crop_pct, crop_mode, interpolation,
            mean, std.
    """
    channels, height, width = config["input_size"]
    return Preprocess(
        height=height,
        width=width,
        resize=math.floor(max(height, width) / config["crop_pct"]),
        interpolation=_interpolation(config["interpolation"]),
        mean=_on_255(config["mean"]),
        std=_on_255(config["std"]),
        channels="grey" if channels == 1 else "rgb",
        fit="squash" if config["crop_mode"] == "squash" else "crop",
    )


def _timm_classes(count: int) -> tuple[str, ...] | None:
    """Class names by the number of classes, which differs between the subsets of ImageNet."""
    if count == 1000:
        return imagenet_classes()
    data = timm().data
    subset = {21841: "imagenet22k", 21843: "imagenet21k-goog", 11821: "imagenet12k"}.get(count)
    if subset is None:
        return None
    info = data.ImageNetInfo(subset)
    return tuple(info.index_to_description(index) for index in range(count))


def timm_blueprint(name: str) -> Blueprint:
    """The blueprint of a timm model, preprocessed as its data configuration specifies.

    Args:
        name: with or without a tag.

    Raises:
        NetworkError: if timm has no such model.
    """
    library = timm()
    base = name.split(".")[0]
    if not name.startswith("hf-hub:") and base not in timm_names():
        raise UnknownNetwork(f"timm has no model {name!r}{did_you_mean(base, timm_names())}")
    try:
        config = library.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = library.list_pretrained(f"{base}.*")
        raise UnknownNetwork(f"timm has no weights {name!r}; known: {', '.join(tags)}") from error
    preprocess = timm_preprocess(library.data.resolve_data_config(pretrained_cfg=config.to_dict()))

    def make(wanted: Preprocess, **options: Any) -> nn.Module:
        if len(wanted.mean) != len(preprocess.mean):
            options["in_chans"] = len(wanted.mean)
        size = (wanted.height, wanted.width)
        if size != (preprocess.height, preprocess.width):
            # Only models whose position embeddings depend on the size accept it as an argument.
            with suppress(TypeError):
                sized: nn.Module = library.create_model(name, img_size=size, **options)
                return sized
        module: nn.Module = library.create_model(name, **options)
        return module

    def publish(wanted: Preprocess) -> tuple[nn.Module, str]:
        module = _download(name, lambda: make(wanted, pretrained=True))
        return module, f"timm {config.hf_hub_id or name}"

    return Blueprint(
        name=f"timm:{name}",
        build=make,
        publish=publish if config.has_weights else None,
        source=f"downloaded by timm ({config.tag or 'no tag'})" if config.has_weights else "none",
        preprocess=preprocess,
        classes=_timm_classes(config.num_classes),
    )
