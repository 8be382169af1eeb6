"""Datasets: folders of images, WebDataset tars and Parquet files, near or far, as shards.

`open_dataset` takes what a user types: paths, URLs, globs and brace patterns, the word `demo`,
or the name of a dataset that torchvision downloads.
It lists shards and reads no image; the shards then stream (see `pipeline.data.shard`).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.data.files import basename, expand, filesystem, is_url, size_of
from pipeline.data.folder import folder_shards, list_folder
from pipeline.data.retry import retrying
from pipeline.data.shard import BadSample, Sample, Shard, listing_digest, printable
from pipeline.data.tar import TarShard
from pipeline.data.torchvision import PREFIX, fetch
from pipeline.errors import SourceError, UsageError, did_you_mean
from pipeline.image_id import image_id, split_image_id
from pipeline.progress import Reporter, Silent

__all__ = [
    "DEMO",
    "BadSample",
    "Dataset",
    "Sample",
    "Shard",
    "default_cache",
    "image_id",
    "open_dataset",
    "split_image_id",
]

DEMO = "demo"
"""The word that names the embedded dataset; a folder of that name is `./demo`."""

ESTIMATE_SAMPLES = 64
"""Samples read to estimate how many a dataset of archives holds."""

COUNTED_BYTES = 1 << 30
"""Bytes (1 GiB) of local archives up to which their headers are counted instead."""


@dataclass(frozen=True)
class Dataset:
    """Shards in a fixed order.

    Args:
        name: for titles.
        shards: sorted by name; a shard's place here is its ordinal in every image_id.
        data: the arguments that open it again, local paths made absolute.
    """

    name: str
    shards: tuple[Shard, ...]
    data: tuple[str, ...]

    def read(self, shard: str, key: str, offset: int, nbytes: int) -> bytes:
        """The encoded image that an index recorded.

        Raises:
            SourceError: when the dataset has no such shard, or the shard no such image.
        """
        try:
            return self._by_name[shard].read(key, offset, nbytes)
        except KeyError:
            hint = did_you_mean(shard, self._by_name)
            raise SourceError(f"dataset {self.name} has no shard {shard!r}{hint}") from None

    def ordinal(self, shard: str) -> int:
        """A shard's place in the dataset."""
        return self._ordinals[shard]

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size for shard in self.shards)

    @functools.cached_property
    def listing(self) -> str:
        """SHA-256 of the names, sizes and listings of all shards: changes when the data does."""
        return listing_digest((shard.name, shard.size, shard.digest) for shard in self.shards)

    @functools.cached_property
    def estimated_images(self) -> int | None:
        """About how many images there are: exact for folders, from the first few for archives.

        None when nothing could be read; the reason comes up again when the shard is indexed.
        """
        known = sum(shard.count_hint or 0 for shard in self.shards)
        rest = [shard for shard in self.shards if shard.count_hint is None]
        if not rest:
            return known
        try:
            unknown = _count(rest)
        except SourceError:
            return None
        return known + unknown

    @functools.cached_property
    def _by_name(self) -> dict[str, Shard]:
        return {shard.name: shard for shard in self.shards}

    @functools.cached_property
    def _ordinals(self) -> dict[str, int]:
        return {shard.name: ordinal for ordinal, shard in enumerate(self.shards)}


def _count(shards: list[Shard]) -> int:
    """Samples of small local archives counted, of others guessed from the first shard."""
    size = sum(shard.size for shard in shards)
    archives = [shard for shard in shards if isinstance(shard, TarShard) and not is_url(shard.url)]
    if size <= COUNTED_BYTES and len(archives) == len(shards):
        return sum(shard.count() for shard in archives)
    with contextlib.closing(shards[0].samples()) as stream:
        first = list(itertools.islice(stream, ESTIMATE_SAMPLES))
    read = [sample.offset + len(sample.data) for sample in first if isinstance(sample, Sample)]
    if len(first) < ESTIMATE_SAMPLES or not read:
        return len(first) * len(shards)
    return round(size / (max(read) / len(first)))


def default_cache() -> Path:
    """Where the embedded dataset is built when nobody says otherwise."""
    return Path.home() / ".cache" / "maxact"


def open_dataset(
    data: Path | Sequence[str | Path], *, cache: Path | None = None, reporter: Reporter | None = None
) -> Dataset:
    """List the shards of a dataset.

    Args:
        data: paths, URLs, globs or brace patterns, of folders, tars and Parquet files;
            `demo`; or `torchvision:NAME` (see `pipeline.data.torchvision`). A single string or
            path is one of them.
        cache: folder for what is built or downloaded; None is the user's own cache.
        reporter: told of the building, where there is any.

    Raises:
        UsageError: when nothing is given.
        SourceError: when something does not exist, holds no images, or is of no known kind.
    """
    data = (str(data),) if isinstance(data, str | Path) else tuple(map(str, data))
    if not data:
        raise UsageError("no data given; name a folder, tar or Parquet files, or 'demo'")
    cache = default_cache() if cache is None else cache
    roots: dict[str, list[Shard]] = {}
    for argument in data:
        for path in expand(_located(argument, cache, reporter or Silent())):
            roots.update(_open(path if is_url(path) else os.path.abspath(path)))
    shards = sorted(_named(roots), key=lambda shard: shard.name)
    return Dataset(_name(data), tuple(shards), tuple(_reopenable(item) for item in data))


def _located(argument: str, cache: Path, reporter: Reporter) -> str:
    """The path, URL or pattern that an argument stands for."""
    argument = argument if is_url(argument) else os.path.expanduser(argument)
    if argument == DEMO:
        from pipeline.data.demo import build_demo

        return str(build_demo(cache / DEMO, reporter=reporter))
    if argument.startswith(PREFIX):
        return str(fetch(argument, cache))
    return argument


def _open(path: str) -> dict[str, list[Shard]]:
    """Shards, still without the front of their names, by the path or URL they come from."""
    if not _is_folder(path):
        return {path: [_archive(path)]}
    listing = list_folder(path)
    if listing.images and listing.shards:
        raise SourceError(
            f"{path} holds both images ({listing.images[0][0]}, ...) and shards "
            f"({listing.shards[0]}, ...); name the one you want, such as {path}/*.tar"
        )
    if listing.images:
        return {path: list(folder_shards(path, listing.images))}
    if not listing.shards:
        raise SourceError(
            f"{path} holds no images; expected class folders of image files, image files, "
            "or .tar or .parquet shards"
        )
    inside = [f"{path.rstrip('/')}/{shard}" for shard in listing.shards]
    return {shard: [_archive(shard)] for shard in inside}


def _is_folder(path: str) -> bool:
    if not is_url(path):
        if not os.path.exists(path):
            raise SourceError(f"{path} does not exist{_nearest(path)}")
        return os.path.isdir(path)
    if path.partition("?")[0].endswith((".tar", ".parquet")):
        return False
    fs, inner = filesystem(path)
    return retrying(lambda: bool(fs.isdir(inner)), path)


def _nearest(path: str) -> str:
    parent = os.path.dirname(path) or "."
    names = os.listdir(parent) if os.path.isdir(parent) else []
    return did_you_mean(os.path.basename(path), names)


def _archive(path: str) -> Shard:
    suffix = basename(path).rpartition(".")[2].lower()
    if suffix == "parquet":
        from pipeline.data.parquet import parquet_shard

        return parquet_shard(path)
    if suffix in ("tar", "tgz", "gz", "bz2", "xz", "zst"):
        return TarShard(name="", size=size_of(path), url=path)
    missing = "does not exist, or " if is_url(path) else ""
    raise SourceError(f"{path} {missing}is neither a folder nor a .tar or .parquet file")


def _named(roots: dict[str, list[Shard]]) -> list[Shard]:
    """Give each shard a name unique in the dataset: the base name, or as much path as it takes."""
    short = _distinct(list(roots))
    named = []
    for root, shards in roots.items():
        for shard in shards:
            name = f"{short[root]}/{shard.name}" if shard.name else short[root]
            named.append(replace(shard, name=name))
    return named


def _distinct(roots: list[str]) -> dict[str, str]:
    parts = {root: printable(root.partition("?")[0]).strip("/").split("/") for root in roots}
    for length in range(1, max(len(part) for part in parts.values()) + 1):
        names = {root: "/".join(part[-length:]) for root, part in parts.items()}
        if len(set(names.values())) == len(roots):
            return names
    return {root: printable(root) for root in roots}


def _name(data: Sequence[str]) -> str:
    """A title: the last part of the first argument's path, without its ending."""
    if (data[0] == DEMO or data[0].startswith(PREFIX)) and len(data) == 1:
        return data[0].removeprefix(PREFIX).replace(":", " ")
    first = printable(basename(data[0] if is_url(data[0]) else os.path.abspath(data[0])))
    stem = first.rpartition(".")[0] if first.endswith((".tar", ".parquet")) else first
    return stem if len(data) == 1 else f"{stem} and {len(data) - 1} more"


def _reopenable(argument: str) -> str:
    if argument == DEMO or argument.startswith((PREFIX, "{")) or is_url(argument):
        return argument
    return os.path.abspath(os.path.expanduser(argument))
