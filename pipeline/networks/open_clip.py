"""Image towers of open_clip: `open_clip:MODEL` or `open_clip:MODEL/PRETRAINED`.

PRETRAINED is one of open_clip's tags, or a file with the weights of the whole model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pipeline.errors import NetworkError, UnknownNetwork, did_you_mean
from pipeline.images.preprocess import Interpolation, Preprocess
from pipeline.networks.blueprint import Blueprint
from pipeline.networks.weights import fit_state
from pipeline.vision_libraries import open_clip

__all__ = ["open_clip_blueprint"]

TOWER = "visual."
"""Prefix of the image tower's weights in files of the whole model."""

SMALL_TEXT = {"context_length": 8, "vocab_size": 16, "width": 64, "heads": 1, "layers": 1}
"""The text tower that is built, and thrown away, where no weights are loaded: the real one may need
files of its own."""


def open_clip_blueprint(source: str) -> Blueprint:
    """The blueprint of an image tower of open_clip, preprocessed as its weights specify.

    Args:
        source: MODEL or MODEL/PRETRAINED.

    Raises:
        UnknownNetwork: if open_clip has no such model or weights.
    """
    library = open_clip()
    model, _, pretrained = source.partition("/")
    config = library.get_model_config(model)
    if config is None:
        raise UnknownNetwork(f"open_clip has no model {model!r}{did_you_mean(model, library.list_models())}")
    tags = library.list_pretrained_tags_by_model(model)
    file = _find_file(pretrained, model, tags)
    name = f"open_clip:{source}"
    preprocess, notes = _preprocess(library, config, model, tags, pretrained if file is None else "")

    def create(wanted: Preprocess, weights: str | None, **options: Any) -> nn.Module:
        size = wanted.height if wanted.height == wanted.width else (wanted.height, wanted.width)
        whole = library.create_model(model, weights, force_image_size=size, **options)
        tower: nn.Module = whole.visual
        return tower

    def build(wanted: Preprocess) -> nn.Module:
        return create(wanted, None, load_weights=False, text_cfg=dict(SMALL_TEXT), force_custom_text=False)

    def publish(wanted: Preprocess) -> tuple[nn.Module, str]:
        weights = pretrained if file is None else str(file)
        try:
            return create(wanted, weights), f"open_clip {model}, {weights}"
        # The library fetches through urllib or the Hub, and reads with torch or safetensors.
        except Exception as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise NetworkError(
                f"could not load {name}: {reason}; give open_clip:{model}/FILE with weights of the whole "
                "model, or --weights random"
            ) from error

    def from_state(state: Mapping[str, Tensor], path: str) -> nn.Module:
        module = build(preprocess)
        tower = {key.removeprefix(TOWER): each for key, each in state.items() if key.startswith(TOWER)}
        fit_state(module, tower or dict(state), path)
        return module

    known = f" ({', '.join(tags)})" if tags else ""
    return Blueprint(
        name=name,
        build=build,
        publish=publish if pretrained else None,
        source="downloaded by open_clip" if pretrained else f"open_clip:{model}/PRETRAINED{known} or a file",
        preprocess=preprocess,
        from_state=from_state,
        notes=tuple(f"{name}: {note}" for note in notes),
    )


def _find_file(pretrained: str, model: str, tags: list[str]) -> Path | None:
    """The file that the weights are in, or None for a tag."""
    if not pretrained or pretrained in tags:
        return None
    path = Path(pretrained).expanduser()
    if path.is_file():
        return path
    near = did_you_mean(pretrained, tags) or (f"; it has {', '.join(tags)}" if tags else "")
    raise UnknownNetwork(
        f"open_clip has no weights {pretrained!r} of {model}, and there is no such file{near}"
    )


def _preprocess(
    library: Any, config: Mapping[str, Any], model: str, tags: list[str], tag: str
) -> tuple[Preprocess, tuple[str, ...]]:
    """The preprocessing of weights; without a tag, that of the model's first published ones."""
    height, width = _sides(config["vision_cfg"].get("image_size", 224))
    chosen = tag or (tags[0] if tags else "")
    given = (library.get_pretrained_cfg(model, chosen) if chosen else None) or {}
    mode = given.get("resize_mode") or "shortest"
    defaults = {"mean": library.OPENAI_DATASET_MEAN, "std": library.OPENAI_DATASET_STD}
    mean, std = (
        tuple(round(float(value) * 255, 6) for value in given.get(key) or default)
        for key, default in defaults.items()
    )
    filter_name: Interpolation = "bilinear" if given.get("interpolation") == "bilinear" else "bicubic"
    preprocess = Preprocess(
        height=height,
        width=width,
        resize=max(height, width),
        interpolation=filter_name,
        mean=mean,
        std=std,
        fit="squash" if mode == "squash" else "crop",
    )
    pads = "images are padded to a square by open_clip; here the centre square is cropped"
    return preprocess, (pads,) if mode == "longest" else ()


def _sides(size: Any) -> tuple[int, int]:
    """Rows and columns of a size, which may be one number for both."""
    if isinstance(size, int):
        return size, size
    return int(size[0]), int(size[1])
