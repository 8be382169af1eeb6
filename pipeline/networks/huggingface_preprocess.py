"""Express an image processor of transformers as a `Preprocess`, and say where that is not exact.

The numbers come from the processor's attributes. They are then compared with the processor itself on
a few images, so that a processor that does more than its attributes say is noticed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.errors import MaxactError
from pipeline.images.decode import to_network
from pipeline.images.preprocess import Fit, Interpolation, Preprocess

__all__ = ["processor_preprocess"]

FILTERS: dict[int, Interpolation] = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of the filters that maxact has."""

FILTER_NAMES = {0: "nearest", 1: "lanczos", 4: "box", 5: "hamming"}

TRIALS = ((301, 227), (229, 342), (640, 477))
"""Widths and heights of the images on which a processor is compared."""

TOLERANCE = 1.5
"""Levels of 0..255 by which a pixel may differ: DINOv3's processor does not round what it resizes."""

CONVNEXT_SQUASHED = 384
"""Sizes from which ConvNeXT's processor stretches instead of cropping."""

LEVIT_RATIO = 256 / 224


def processor_preprocess(processor: Any, default: Preprocess) -> tuple[Preprocess, tuple[str, ...]]:
    """The preprocessing of an image processor of transformers, and notes on what it cannot express.

    Args:
        processor: an image processor.
        default: gives the size if the processor leaves images in their own.
    """
    numbers = _numbers(processor, default)
    geometry, reason = _geometry(processor, default)
    resample = int(getattr(processor, "resample", None) or 0)
    notes = [reason] if reason else []
    if resample not in FILTERS:
        notes.append(f"it resizes with the filter {FILTER_NAMES.get(resample, resample)}, bicubic is used")
    preprocess = replace(geometry, **numbers, interpolation=FILTERS.get(resample, "bicubic"))
    if not notes:
        notes += _differences(processor, preprocess)
    return preprocess, tuple(notes)


def _numbers(processor: Any, default: Preprocess) -> dict[str, Any]:
    """Mean and standard deviation on 0..255, and the order of the channels."""
    factor = float(processor.rescale_factor) if _asked(processor, "do_rescale") else 1.0
    offset = 1.0 if _asked(processor, "rescale_offset") else 0.0
    count = len(default.mean)
    mean, std = (_per_channel(getattr(processor, f"image_{name}", None), count) for name in ("mean", "std"))
    twice = _asked(processor, "include_top")  # EfficientNet's classifier was trained on twice divided values
    if not _asked(processor, "do_normalize"):
        mean, std, once = (0.0,) * len(mean), std if twice else (1.0,) * len(std), True
    else:
        once = not twice
    channels = "bgr" if _asked(processor, "do_flip_channel_order") else default.channels
    return {
        "mean": tuple(round((value + offset) / factor, 6) for value in mean),
        "std": tuple(round((value if once else value * value) / factor, 6) for value in std),
        "channels": channels,
    }


def _asked(processor: Any, name: str) -> bool:
    """Whether an option of a processor is on; options that it does not have are off."""
    return bool(getattr(processor, name, False))


def _per_channel(values: Any, count: int) -> tuple[float, ...]:
    """One number per channel; None is 0."""
    if isinstance(values, list | tuple):
        return tuple(map(float, values))
    return (float(values or 0.0),) * count


def _geometry(processor: Any, default: Preprocess) -> tuple[Preprocess, str]:
    """The size and fit of a processor's images, and the reason if they are not exactly these."""
    size, crop = (_sides(getattr(processor, name, None)) for name in ("size", "crop_size"))
    cropped = _asked(processor, "do_center_crop") and "height" in crop
    kind = type(processor).__name__
    short = size.get("shortest_edge")
    patches = getattr(processor, "max_num_patches", None)
    if patches and isinstance(processor.patch_size, int):
        side = math.isqrt(patches) * processor.patch_size
        why = (
            f"it keeps an image's shape, in up to {patches} patches; images are stretched to {side}x{side} px"
        )
        return _placed(side, side, side, "squash"), why
    if not _asked(processor, "do_resize"):
        why = "it does not resize images; they are resized and the centre is cropped"
        return default, why
    if short and kind.startswith("ConvNext"):
        if short >= CONVNEXT_SQUASHED:
            return _placed(short, short, short, "squash"), ""
        return _placed(short, short, int(short / processor.crop_pct), "crop_floor"), ""
    if short and kind.startswith("Levit"):
        short = int(LEVIT_RATIO * short)
    if short and cropped:
        return _cropped(short, crop, "crop_floor")
    if short:
        why = f"it resizes to a short side of {short} and keeps the shape; the centre square is used"
        return _placed(short, short, short, "crop_floor"), why
    if "height" in size and cropped and crop != size:
        if size["height"] == size["width"]:
            return _cropped(size["height"], crop, "squash_crop")
        why = "it stretches to a rectangle and crops; images are stretched to the crop's size"
        return _placed(crop["height"], crop["width"], crop["height"], "squash"), why
    if "height" in size:
        return _placed(size["height"], size["width"], size["height"], "squash"), ""
    return default, f"its size {size or None} has no equivalent; {default.width}x{default.height} px are used"


def _cropped(resize: int, crop: dict[str, int], fit: Fit) -> tuple[Preprocess, str]:
    """A centre crop; the processor pads a crop that is larger than the image with black."""
    needed = max(crop["height"], crop["width"])
    why = "" if resize >= needed else f"it pads a crop of {needed} px from {resize} px; no padding is added"
    return _placed(crop["height"], crop["width"], max(resize, needed), fit), why


def _placed(height: int, width: int, resize: int, fit: Fit) -> Preprocess:
    return Preprocess(height, width, max(resize, height, width) if fit != "squash" else resize, fit=fit)


def _sides(size: Any) -> dict[str, int]:
    """The entries of a size, which may be a dictionary, a record or one number for both sides."""
    if isinstance(size, int):
        return {"height": size, "width": size}
    names = ("height", "width", "shortest_edge", "longest_edge", "max_height", "max_width")
    values = {name: _entry(size, name) for name in names}
    return {name: int(value) for name, value in values.items() if value}


def _entry(size: Any, name: str) -> Any:
    return size.get(name) if isinstance(size, dict) else getattr(size, name, None)


def _differences(processor: Any, preprocess: Preprocess) -> Iterator[str]:
    """Compare a preprocessing with the processor; at most one line."""
    generator = np.random.default_rng(0)
    worst = 0.0
    for width, height in TRIALS:
        pixels = generator.integers(0, 256, (height, width, 3)).astype(np.uint8)
        try:
            expected = processor(images=Image.fromarray(pixels), return_tensors="pt")["pixel_values"][0]
            found = _normalised(to_network(torch.from_numpy(pixels).permute(2, 0, 1), preprocess), preprocess)
        except (MaxactError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            yield f"it could not be run for comparison: {' '.join(str(error).split())[:120]}"
            return
        if expected.shape != found.shape:
            rows, columns = expected.shape[-2:]
            used = f"{preprocess.width}x{preprocess.height}"
            yield f"it makes {columns}x{rows} px of a {width}x{height} image, not {used}"
            return
        levels = (expected - found).abs() * torch.tensor(preprocess.std)[:, None, None]
        worst = max(worst, float(levels.max()))
    if worst > TOLERANCE:
        yield f"its pixels differ by up to {worst:.0f} of 255"


def _normalised(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    """As `pipeline.networks.network.Network.normalise`, for one image of three channels."""
    values = (pixels.flip(0) if preprocess.channels == "bgr" else pixels).float()
    mean, std = (torch.tensor(each)[:, None, None] for each in (preprocess.mean, preprocess.std))
    return (values - mean) / std
