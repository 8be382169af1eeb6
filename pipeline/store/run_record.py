"""What `run.json` may hold: each field with its type and range, checked whenever the file is read.

An index may come from somebody else, so that no text or number of it is used unchecked. Fields that
are not declared here are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pipeline import choices
from pipeline.errors import StoreError
from pipeline.store.schemas import SCHEMAS

__all__ = ["COMMIT", "LAYER", "find_problem", "refuse_invalid", "refuse_invalid_run"]

MAX_TEXT = 4096
"""Characters of a name or a path."""

MAX_NUMBER = 1 << 53
"""The largest count: whole numbers up to it are exact in JSON."""

MAX_SIDE = 1 << 14
"""Rows or columns of a network's input, in pixels; four times that before the crop."""

MAX_FIELD = 1 << 31
"""Pixels of a receptive field and its stride, and where it starts: tables have them as int32."""

_SHOWN = 60
"""Characters of a value that an error shows."""


@dataclass(frozen=True, slots=True)
class _Value:
    """A value without parts: what is expected, in words, and whether one is that."""

    expected: str
    accepts: Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class _Optional:
    """A value or null."""

    of: _Node


@dataclass(frozen=True, slots=True)
class _Items:
    """A list of `least` to `most` items of one kind."""

    of: _Node
    least: int = 0
    most: int = MAX_NUMBER


@dataclass(frozen=True, slots=True)
class _Fields:
    """An object: fields that it must have, and fields that it may have."""

    required: Mapping[str, _Node] = field(default_factory=dict)
    allowed: Mapping[str, _Node] = field(default_factory=dict)


_Node = _Value | _Optional | _Items | _Fields


def _is_text(value: Any) -> bool:
    """Whether it can be shown, encoded, and passed to the system as a path."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or "\0" in value:
        return False
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _word(*words: str) -> _Value:
    return _Value(f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words)


def _whole(low: int, high: int = MAX_NUMBER) -> _Value:
    def accepts(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return _Value(f"a whole number in {low}..{high}", accepts)


def _number(expected: str, accepts: Callable[[float], bool]) -> _Value:
    def is_such(value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) <= MAX_NUMBER and math.isfinite(value) and accepts(value)

    return _Value(expected, is_such)


_TEXT = _Value(f"text of at most {MAX_TEXT:,} printable characters", _is_text)
_HEX = _Value(
    "64 hexadecimal digits",
    lambda value: isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef"),
)
_FLAG = _Value("true or false", lambda value: isinstance(value, bool))
_OBJECT = _Value("an object", lambda value: isinstance(value, dict))
_COUNT = _whole(0)
_PIXELS = _whole(-MAX_FIELD, MAX_FIELD - 1)
_TEXTS = _Items(_TEXT)


def _is_kept(value: Any) -> bool:
    """Words of `Keep`; runs of earlier versions have one word, or null."""
    words = [value] if isinstance(value, str) else value or []
    return isinstance(words, list) and all(word in get_args(choices.Keep) for word in words)


_KEPT = _Value(f"a list of {', '.join(get_args(choices.Keep))}", _is_kept)

LAYER = _Fields(
    {
        "name": _TEXT,
        "ordinal": _whole(0, MAX_FIELD - 1),
        "kind": _word(*get_args(choices.Kind)),
        "units": _whole(1, MAX_FIELD - 1),
        "prefix": _whole(0, MAX_FIELD - 1),
        "grid_h": _whole(1, MAX_SIDE),
        "grid_w": _whole(1, MAX_SIDE),
        "rf_h": _whole(0, MAX_FIELD - 1),
        "rf_w": _whole(0, MAX_FIELD - 1),
        "stride_y": _whole(0, MAX_FIELD - 1),
        "stride_x": _whole(0, MAX_FIELD - 1),
        "start_y": _PIXELS,
        "start_x": _PIXELS,
    },
    {
        "positions": _Optional(_word(*get_args(choices.Positions))),
        "position_order": _Optional(_Items(_whole(0, MAX_FIELD - 1))),
    },
)
"""Fields of a `pipeline.layers.layer.Layer`."""

_CONFIG = _Fields(
    {
        "network": _Optional(_TEXT),
        "weights": _Optional(_TEXT),
        "top": _whole(1, 1024),
        "score": _word(*get_args(choices.Score)),
        "precision": _word(*get_args(choices.Precision)),
        "memory_format": _word(*get_args(choices.MemoryFormat)),
        "decoder": _word(*get_args(choices.Decoder)),
        "classes": _Optional(_whole(1, 1 << 20)),
    },
    {
        "data": _TEXTS,
        "out": _TEXT,
        "input": _TEXTS,
        "directions": _TEXTS,
        "layers": _TEXTS,
        "kind": _Optional(_word(*get_args(choices.Kind))),
        "batch_size": _whole(1, 1024),
        "compile": _word(*get_args(choices.Compile)),
        "device": _word(*get_args(choices.Device)),
        "workers": _Optional(_whole(1, 1 << 20)),
        "threads": _Optional(_whole(1, 1 << 20)),
        "shards_per_part": _Optional(_whole(1, 1 << 20)),
        "max_bad_fraction": _number("a number in 0..1", lambda value: 0 <= value <= 1),
        "keep": _KEPT,
        "fresh": _FLAG,
        "cache": _Optional(_TEXT),
        "class_names": _Optional(_TEXT),
        "shard_range": _Optional(_TEXT),
    },
)

_PREPROCESS = _Fields(
    {
        "height": _whole(1, MAX_SIDE),
        "width": _whole(1, MAX_SIDE),
        "resize": _whole(1, 4 * MAX_SIDE),
        "interpolation": _word("bilinear", "bicubic"),
        "mean": _Items(_number("a finite number", lambda _: True), 1, 64),
        "std": _Items(_number("a finite number above 0", lambda value: value > 0), 1, 64),
        "channels": _word("rgb", "bgr", "grey"),
        "fit": _word("crop", "crop_floor", "squash", "squash_crop"),
    }
)

_COUNTS = ("images", "errors", "units", "layers")

RUN = _Fields(
    {
        "schema_version": _COUNT,
        "status": _word("incomplete", "complete"),
        "fingerprint": _HEX,
        "config": _CONFIG,
        "network": _Fields(
            {"name": _TEXT, "weights": _TEXT, "digest": _HEX, "classes": _Optional(_Items(_TEXT))}
        ),
        "preprocess": _PREPROCESS,
        "dataset": _Fields({"name": _TEXT, "data": _Items(_TEXT, 1), "shards": _COUNT}),
        "counts": _Fields({}, dict.fromkeys(_COUNTS, _COUNT)),
    },
    {
        "fields": _OBJECT,
        "identity": _Fields({"dataset": _TEXT}),
        "layers": _Items(LAYER),
        "signature": _HEX,
        "timings": _Fields({}, {"seconds": _number("a number of seconds", lambda value: value >= 0)}),
        "versions": _OBJECT,
        "tables": _Fields(
            {}, dict.fromkeys(SCHEMAS, _Fields({"bytes": _COUNT, "sha256": _HEX, "tail": _HEX}))
        ),
        "thumbnails": _Fields({"bytes": _COUNT, "sha256": _HEX, "tail": _HEX}),
        "parts": _TEXTS,
        "sha256": _HEX,
    },
)
"""The whole file."""

_NAME = _Value("text", lambda value: isinstance(value, str))

_SHARD = _Fields(
    {"name": _NAME, "size": _COUNT, "images": _COUNT, "errors": _COUNT},
    dict.fromkeys(("digest", "content", "stamp"), _NAME),
)

COMMIT = _Fields(
    {
        "fingerprint": _HEX,
        "shards": _Items(_SHARD, 1),
        "tables": _Fields(
            dict.fromkeys(("state", "histogram", "labels", "sample", "images", "errors"), _HEX),
            {"peaks": _HEX},
        ),
        "units": _whole(1, MAX_FIELD - 1),
        "k": _whole(1, 1024),
    },
    {"format": _COUNT, "sha256": _HEX},
)
"""A commit file of `pipeline.state.commit`."""


def refuse_invalid_run(path: Path, content: Any) -> None:
    """Refuse the content of a run.json that has a field of another type or range.

    Args:
        path: of the file, for the error.
        content: as parsed.

    Raises:
        StoreError: names the first field that is missing or not what it must be.
    """
    refuse_invalid(str(path), RUN, content)
    if content["status"] == "complete":
        refuse_invalid(str(path), _Fields({"counts": _Fields(dict.fromkeys(_COUNTS, _COUNT))}), content)


def refuse_invalid(where: str, node: _Node, value: Any) -> None:
    """Check a value against its declaration, such as `LAYER`.

    Args:
        where: the file or table, for the error.
        node: what is declared.
        value: plain values, as from JSON.

    Raises:
        StoreError: names the first part that is missing or not what it must be.
    """
    for problem in _problems(node, value, ""):
        raise StoreError(f"{where}: {problem}; restore it from a copy, or index again with --fresh")


def find_problem(node: _Node, value: Any) -> str | None:
    """The first part of a value that is missing or not what it must be; None if there is none."""
    return next(_problems(node, value, ""), None)


def _problems(node: _Node, value: Any, name: str) -> Iterator[str]:
    """What is wrong with a value and its parts, in order."""
    shown = name or "the content"
    if isinstance(node, _Optional):
        if value is not None:
            yield from _problems(node.of, value, name)
    elif isinstance(node, _Value):
        if not node.accepts(value):
            yield f"{shown} must be {node.expected}, got {_short(value)}"
    elif isinstance(node, _Items):
        if not isinstance(value, list | tuple) or not node.least <= len(value) <= node.most:
            limits = f" of {node.least} to {node.most}" if node.most < MAX_NUMBER else ""
            limits = limits or (f" of at least {node.least}" if node.least else "")
            yield f"{shown} must be a list{limits}, got {_short(value)}"
        else:
            for number, item in enumerate(value):
                yield from _problems(node.of, item, f"{name}[{number}]")
    elif not isinstance(value, dict):
        yield f"{shown} must be an object, got {_short(value)}"
    else:
        for key, part in {**node.required, **node.allowed}.items():
            if key in value:
                yield from _problems(part, value[key], f"{name}.{key}" if name else key)
            elif key in node.required:
                yield f"{shown} has no {key}"


def _short(value: Any) -> str:
    """A value on one line, of printable ASCII."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
