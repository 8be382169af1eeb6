"""The readers that are fuzzed.

A target reads one input and returns, or raises a `MaxactError`. Anything else is a fault: another
exception, more than `SECONDS`, more than a gigabyte (see `tests/fuzz/long_run.py`).
"""

from __future__ import annotations

import contextlib
import functools
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from pipeline.data.content import ShardReader
from pipeline.data.dataset import Sample, Shard
from pipeline.data.files import expand
from pipeline.data.parquet import parquet_shard
from pipeline.data.tar import TarShard
from pipeline.dissection.masks import MaskedImage, open_masks
from pipeline.errors import BadImage, MaxactError
from pipeline.images.decode import decode_original
from pipeline.layers.layer import Layer
from pipeline.naming.concepts_file import read_concepts
from pipeline.naming.vocabulary import read_vocabulary
from pipeline.networks.weights import read_weights
from pipeline.query.index import open_index
from pipeline.query.selection import choose_names, choose_units
from pipeline.store.peak_files import PeakFile
from pipeline.stream.group import GroupRecords
from tests.fixtures.small_index import build_index
from tests.fuzz import seeds
from viz.objectives.text import parse_objective

__all__ = ["BINARY", "SECONDS", "TEXT", "Target", "check"]

SECONDS = 5
"""Limit for one input."""

T = TypeVar("T", bytes, str)


@dataclass(frozen=True)
class Target(Generic[T]):
    """A reader.

    Args:
        seeds: gives valid inputs.
        read: reads one input.
    """

    seeds: Callable[[], list[T]]
    read: Callable[[T], object]


class TooSlow(BaseException):
    """An input took more than `SECONDS`."""


def check(target: Target[T], value: T) -> None:
    """Read one input; raise unless it is read or refused in time."""

    def stop(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        target.read(value)
    except MaxactError as error:
        text = str(error)
        assert text, "an error without a message"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@functools.cache
def _folder() -> Path:
    """A folder for the file that is read."""
    made = tempfile.TemporaryDirectory()
    FOLDERS.append(made)
    return Path(made.name)


FOLDERS: list[tempfile.TemporaryDirectory[str]] = []


def _file(name: str, data: bytes) -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


def _read_shard(shard: Shard) -> None:
    """Stream a shard as a run does, record it, and read its images back."""
    records = GroupRecords([shard])
    reader = ShardReader(shard)
    kept = []
    for item in reader:
        if isinstance(item, Sample):
            records.add(item)
            kept.append(item)
        else:
            records.add_bad(item)
    records.end_shard(shard, reader.content, reader.stamp)
    records.tables({})
    for item in kept[:2]:
        assert shard.read(item.key, item.offset, item.nbytes) == item.data


def _read_tar(data: bytes) -> None:
    path = _file("a.tar", data)
    shard = TarShard(name="a.tar", size=len(data), url=str(path))
    with contextlib.suppress(MaxactError):
        shard.count()
    _read_shard(shard)


def _read_parquet(data: bytes) -> None:
    _read_shard(replace(parquet_shard(str(_file("a.parquet", data))), name="a.parquet"))


def _read_image(data: bytes) -> None:
    for decoder in ("pil", "simplejpeg"):
        with contextlib.suppress(BadImage):
            decode_original(data, decoder=decoder)  # type: ignore[arg-type]


def _read_peaks(data: bytes) -> None:
    file = PeakFile.open(_file("peaks.npy", data), 6, 4, "float16")
    file.read_units(slice(0, 4))
    file.read_images(np.arange(6))


def _read_mask(data: bytes) -> None:
    _file("names.csv", b"1,tree\n2,sky\n")
    _file("x.png", data)
    image = MaskedImage(0, "x.jpg", 3, 2, None, 0, "", 0)
    open_masks(_folder()).sample(image, np.array([0, 1]), np.array([0, 2]))


def _read_weights(ending: str, data: bytes) -> None:
    read_weights(_file(f"w{ending}", data))


BINARY: dict[str, Target[bytes]] = {
    "tar": Target(seeds.tars, _read_tar),
    "parquet": Target(seeds.parquets, _read_parquet),
    "jpeg": Target(seeds.jpegs, _read_image),
    "images": Target(seeds.images, _read_image),
    "caffemodel": Target(seeds.caffemodels, functools.partial(_read_weights, ".caffemodel")),
    "onnx": Target(seeds.onnxs, functools.partial(_read_weights, ".onnx")),
    "safetensors": Target(seeds.safetensors, functools.partial(_read_weights, ".safetensors")),
    "peaks": Target(seeds.peaks, _read_peaks),
    "concepts": Target(seeds.concepts, lambda data: read_concepts(_file("c.csv", data))),
    "concept tables": Target(seeds.concept_tables, lambda data: read_concepts(_file("c.parquet", data))),
    "masks": Target(seeds.masks, _read_mask),
    "pickle": Target(seeds.pickles, functools.partial(_read_weights, ".pth")),
}

LAYER = Layer("blocks.4.2", 0, "map", 112, 0, 14, 14, 100, 100, 16, 16, 0, 0)
NAMES = ("stem", "blocks.0.0", "blocks.4.2", "head[0]", "mixed.3a*", "ünit")
CLASSES = ("tabby, tabby cat", "tiger cat", "crane", "crane", "*", "0-3")


@functools.cache
def _index() -> Path:
    folder = _folder() / "small"
    folder.mkdir()
    return build_index(folder)


@functools.cache
def _run_texts() -> list[str]:
    return [(_index() / "run.json").read_text(encoding="utf-8")]


def _read_run_file(text: str) -> None:
    """Open an index with this run.json and use what it says, as the commands do."""
    out = _index()
    (out / "run.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with open_index(out) as index:
        index.top("stem", 0)
        index.class_names("head")
        index.sql("SELECT * FROM patches LIMIT 1")


def _read_vocabulary(text: str) -> None:
    path = _folder() / "words.txt"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    words = read_vocabulary(path).words
    assert len(words) == len(set(words)) > 1
    assert all(word == " ".join(word.split()) for word in words)


TEXT: dict[str, Target[str]] = {
    "run.json": Target(_run_texts, _read_run_file),
    "layers": Target(
        lambda: ["blocks.*", "stem", "head[[]0]", "[!a-z]*", "**", "mixed.3a[*]", "?????"],
        lambda text: choose_names([text], NAMES, where="the index"),
    ),
    "units": Target(
        lambda: ["0-3,7", "all", "tabby", "3 - 5 , 6", "0-3", "crane,*", "9999999", "5-2"],
        lambda text: [
            choose_units(text, 6, classes=classes, clip=clip)
            for classes in (CLASSES, None)
            for clip in (True, False)
        ],
    ),
    "objective": Target(
        lambda: [
            "point",
            "-channel",
            "point@3,4",
            "channel - 0.5*channel:7",
            "logit + 0.1*channel:stem/5",
            "layer",
        ],
        lambda text: parse_objective(text, LAYER)(0),
    ),
    "paths": Target(
        lambda: [
            "/nowhere/{000..127}.tar",
            "/nowhere/{a,b{1..3}}/*.tar",
            "[a-z]?",
            "{x..z..2}",
            "a}{b",
        ],
        expand,
    ),
    "vocabulary": Target(
        lambda: ["red\nblue\n", "\ufeffa big cat\r\n\n  two\twords ", "a\na\n", "zebra\u2028stripes\nred"],
        _read_vocabulary,
    ),
}
