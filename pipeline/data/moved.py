"""A dataset that was indexed elsewhere: its shards under a new path, with the names that they had.

Names of shards are made from paths (see `pipeline.data.names`). They are therefore made from the paths
that were indexed, and each shard is read where its counterpart lies now.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.data.dataset import Dataset, default_cache, list_shards
from pipeline.data.files import basename, expand, expand_braces, fixed_folder, is_url
from pipeline.data.names import DEMO, choose_title, name_shards
from pipeline.data.shard import Shard
from pipeline.data.torchvision import PREFIX
from pipeline.errors import MissingSource, SourceError, UsageError
from pipeline.progress import Reporter, Silent

__all__ = ["open_moved"]

SPECIAL = frozenset("{*?[")
"""Letters that make a path a pattern."""


def open_moved(
    recorded: Sequence[str],
    data: Sequence[str],
    *,
    cache: Path | None = None,
    reporter: Reporter | None = None,
) -> Dataset:
    """List the shards of a dataset that has moved, under the names that they had.

    Args:
        recorded: arguments that were indexed, with absolute paths.
        data: where each of them is now, in the same order. One alone stands for the folder that
            contains all of them.
        cache: folder of the demo dataset and of downloads when it was indexed.
        reporter: receives what is skipped.

    Raises:
        UsageError: if there are more or fewer arguments than were indexed, or an empty one.
        SourceError: if a path does not exist or contains no images, or a recorded one leads upwards.
    """
    if not all(data):
        raise UsageError("--data: the path is empty; write . for the current folder")
    places = [item if is_url(item) else os.path.abspath(os.path.expanduser(item)) for item in data]
    for item in recorded:
        # Recorded paths are absolute and without `..`; an index from elsewhere may say anything.
        if any(".." in name.split("/") for name in expand_braces(item)):
            raise SourceError(f"the index names {item!a}, a path with `..` that would lead out of --data")
    old = [_recorded_path(item, cache) for item in recorded]
    if len(places) == 1 and len(old) > 1:
        common = _common_folder(old)
        places = [f"{places[0].rstrip('/')}/{path[len(common) :].lstrip('/')}" for path in old]
    if len(places) != len(old):
        raise UsageError(
            f"--data: {len(data)} given, but {len(recorded)} were indexed ({', '.join(recorded[:3])}"
            f"{', ...' if len(recorded) > 3 else ''}); give as many in the same order, or one folder that "
            "contains all of them"
        )
    roots: dict[str, list[Shard]] = {}
    for before, now in zip(old, places, strict=True):
        for path, was in _counterparts(before, now):
            for shard_path, shards in list_shards(path, reporter or Silent()).items():
                roots[was + shard_path[len(path.rstrip("/")) :]] = shards
    shards = sorted(name_shards(roots), key=lambda shard: shard.name)
    return Dataset(choose_title(tuple(recorded)), tuple(shards), tuple(data))


def _recorded_path(argument: str, cache: Path | None) -> str:
    """The path or pattern of an argument when it was indexed."""
    if argument == DEMO or argument.startswith(PREFIX):
        return str((cache or default_cache()) / argument.removeprefix(PREFIX).partition(":")[0])
    return argument.rstrip("/") or "/"


def _common_folder(paths: Sequence[str]) -> str:
    """The folder that contains all paths and URLs; empty if they have none in common."""
    common = _fixed(paths[0]).split("/")
    for path in paths[1:]:
        parts = _fixed(path).split("/")
        equal = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(common, parts, strict=False))
        common = [part for part, _ in equal]
    return "/".join(common)


def _fixed(path: str) -> str:
    """The folder in which a path or the files of a pattern lie."""
    return fixed_folder(path) if SPECIAL & set(path) else os.path.dirname(path)


def _counterparts(before: str, now: str) -> Iterator[tuple[str, str]]:
    """(path now, path when it was indexed) of everything that an argument stands for."""
    folder = (
        os.path.isdir(now) if not is_url(now) else not now.partition("?")[0].endswith((".tar", ".parquet"))
    )
    if SPECIAL & set(before):
        start = _fixed(before)
        tail = before[len(start.rstrip("/")) :].lstrip("/")
        pattern = f"{now.rstrip('/')}/{tail}" if folder else now
        below = now.rstrip("/") if folder else _fixed(now).rstrip("/")
    elif folder and not is_url(now) and os.path.isfile(os.path.join(now, basename(before))):
        yield os.path.join(now, basename(before)), before
        return
    else:
        pattern, below, start = now, now.rstrip("/"), before
        if SPECIAL & set(now) and not os.path.exists(now):
            below = _fixed(now).rstrip("/")
    paths = expand(pattern)
    if not paths:
        raise MissingSource(f"no file matches {pattern!r}")
    for path in paths:
        yield path, start.rstrip("/") + path[len(below) :]
