"""Change a network's preprocessing by options such as `size=160` or `channels=bgr`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, get_args

from torch import nn

from pipeline.assignments import parse_assignments
from pipeline.errors import UsageError, did_you_mean
from pipeline.images.preprocess import Channels, Fit, Interpolation, Preprocess

__all__ = ["KEYS", "described", "fit_grey", "override_preprocess"]

NUMBERS = ("height", "width", "resize")
LISTS = ("mean", "std")
WORDS = {
    "interpolation": get_args(Interpolation),
    "channels": get_args(Channels),
    "fit": get_args(Fit),
}

KEYS = ("size", *NUMBERS, *LISTS, *WORDS)
"""The options. `size` sets height and width and scales `resize` in proportion; `mean` and `std` are
on 0..255, separated by commas, one value per channel of the network."""


def _number(key: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--input {key} must be a whole number of pixels, got {text!r}")
    return int(text)


def _list(key: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--input {key} must be numbers separated by commas, got {text!r}") from error


def override_preprocess(preprocess: Preprocess, assignments: Sequence[str]) -> Preprocess:
    """Replace some values of a preprocessing.

    Args:
        preprocess: of the network's weights.
        assignments: KEY=VALUE, see `KEYS`.

    Raises:
        UsageError: if a key is unknown or given twice, or a value is invalid.
    """
    values: dict[str, Any] = asdict(preprocess)
    for key, text in parse_assignments(assignments, "--input").items():
        if key == "size":
            size = _number(key, text)
            scale = size / max(values["height"], values["width"])
            values |= {"height": size, "width": size}
            values["resize"] = max(size, math.floor(values["resize"] * scale))
        elif key in NUMBERS:
            values[key] = _number(key, text)
        elif key in LISTS:
            values[key] = _list(key, text)
        elif key in WORDS:
            if text not in WORDS[key]:
                raise UsageError(f"--input {key} must be one of {', '.join(WORDS[key])}, got {text!r}")
            values[key] = text
        else:
            raise UsageError(f"--input takes {', '.join(KEYS)}; got {key!r}{did_you_mean(key, KEYS)}")
    return Preprocess(**values)


def fit_grey(module: nn.Module, preprocess: Preprocess, assignments: Sequence[str]) -> Preprocess:
    """Reduce mean and deviation to one number for `channels=grey`, if the network takes one channel.

    Args:
        module: the network; its first convolution tells how many channels it takes.
        preprocess: with the assignments applied.
        assignments: as for `override_preprocess`; a `mean` or `std` among them is kept.
    """
    given = parse_assignments(assignments, "--input")
    if preprocess.channels != "grey" or {"mean", "std"} & set(given) or len(preprocess.mean) == 1:
        return preprocess
    weights = (parameter for parameter in module.parameters() if parameter.dim() == 4)
    first = next(weights, None)
    if first is None or first.shape[1] != 1:
        return preprocess
    mean, std = (sum(numbers) / len(numbers) for numbers in (preprocess.mean, preprocess.std))
    return replace(preprocess, mean=(mean,), std=(std,))


def described(preprocess: Preprocess) -> str:
    """A preprocessing in a few words."""
    mean, std = (" ".join(f"{number:g}" for number in part) for part in (preprocess.mean, preprocess.std))
    size = f"{preprocess.height}x{preprocess.width} {preprocess.channels}"
    resized = {"squash": "squashed", "squash_crop": f"from a square of {preprocess.resize}"}
    resize = resized.get(preprocess.fit, f"from a short side of {preprocess.resize}")
    return f"{size} pixels, {resize} ({preprocess.interpolation}), mean {mean}, deviation {std}"
