"""Open folders of images, WebDataset tars and Parquet files, local or remote, as datasets of shards.

`open_dataset` accepts paths, URLs, globs, brace patterns, the name `demo`, and the names of
datasets that torchvision can download. It lists the shards without reading any image; images are
then streamed from the shards (see `pipeline.data.shard`).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.files import basename, expand, filesystem, is_url, size_of
from pipeline.data.folder import folder_shards, list_folder
from pipeline.data.names import DEMO, choose_title, name_shards
from pipeline.data.retry import retrying
from pipeline.data.shard import MAX_MEMBER_BYTES, BadSample, Sample, Shard, listing_digest, printable
from pipeline.data.tar import TarShard
from pipeline.data.torchvision import PREFIX, download_dataset
from pipeline.errors import MissingSource, SourceError, UsageError, did_you_mean
from pipeline.image_id import image_id, split_image_id
from pipeline.progress import Reporter, Silent

__all__ = [
    "BadSample",
    "Dataset",
    "Sample",
    "Shard",
    "default_cache",
    "image_id",
    "list_shards",
    "open_dataset",
    "split_image_id",
]

ESTIMATE_SAMPLES = 64
"""Samples read to estimate the number of samples in a dataset of archives."""

COUNTED_BYTES = 1 << 30
"""Local archives of up to this many bytes (1 GiB) in total are counted exactly, by their headers."""


@dataclass(frozen=True)
class Dataset:
    """A sequence of shards in a fixed order.

    Args:
        name: title of the dataset.
        shards: sorted by name; the index of a shard in this tuple is its ordinal in image_ids.
        data: arguments for `open_dataset` that open the same dataset again, with absolute paths.
    """

    name: str
    shards: tuple[Shard, ...]
    data: tuple[str, ...]

    def read(self, shard: str, key: str, offset: int, nbytes: int) -> bytes:
        """Read the encoded image that an index recorded.

        Args:
            shard: name of the shard.
            key, offset, nbytes: as recorded, see `Shard.read`.

        Raises:
            SourceError: if the dataset has no such shard, or the shard has no such image.
        """
        if offset < 0 or not 0 <= nbytes <= MAX_MEMBER_BYTES:
            raise SourceError(
                f"image {key!r} of shard {shard} cannot be at offset {offset} with {nbytes} bytes: the "
                "index is damaged; run `maxact check`"
            )
        try:
            return self._by_name[shard].read(key, offset, nbytes)
        except KeyError:
            hint = did_you_mean(shard, self._by_name)
            raise SourceError(f"dataset {self.name} has no shard {shard!r}{hint}") from None

    def ordinal(self, shard: str) -> int:
        """Return the index of a shard in the dataset."""
        return self._ordinals[shard]

    @property
    def size(self) -> int:
        """Total size of all shards in bytes."""
        return sum(shard.size for shard in self.shards)

    @property
    def places(self) -> tuple[Path, ...]:
        """The local files and folders that hold the shards; those at URLs have none."""
        found = (getattr(shard, "root", "") or getattr(shard, "url", "") for shard in self.shards)
        return tuple(Path(place) for place in dict.fromkeys(found) if place and not is_url(place))

    @functools.cached_property
    def listing(self) -> str:
        """SHA-256 of the names, sizes and digests of all shards; it changes when the files change."""
        return listing_digest((shard.name, shard.size, shard.digest) for shard in self.shards)

    @functools.cached_property
    def estimated_images(self) -> int | None:
        """Approximate number of images: exact for folders, extrapolated for large archives.

        None if the shards cannot be read; the error is raised again when they are indexed.
        """
        known = sum(shard.count_hint or 0 for shard in self.shards)
        rest = [shard for shard in self.shards if shard.count_hint is None]
        if not rest:
            return known
        try:
            unknown = _estimate_samples(rest)
        except SourceError:
            return None
        return known + unknown

    @functools.cached_property
    def _by_name(self) -> dict[str, Shard]:
        return {shard.name: shard for shard in self.shards}

    @functools.cached_property
    def _ordinals(self) -> dict[str, int]:
        return {shard.name: ordinal for ordinal, shard in enumerate(self.shards)}


def _estimate_samples(shards: list[Shard]) -> int:
    """Count the samples of small local archives; extrapolate from the first shard otherwise."""
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
    """Return the default folder for the demo dataset and for downloads."""
    return Path.home() / ".cache" / "maxact"


def open_dataset(
    data: Path | Sequence[str | Path], *, cache: Path | None = None, reporter: Reporter | None = None
) -> Dataset:
    """List the shards of a dataset.

    Args:
        data: paths, URLs, globs or brace patterns of folders, tars and Parquet files;
            `demo`; or `torchvision:NAME` (see `pipeline.data.torchvision`). A single string or
            path is one of them.
        cache: folder for datasets that are built or downloaded; `default_cache()` if None.
        reporter: receives the progress of building the demo dataset, and what is skipped.

    Raises:
        UsageError: if `data` is empty, or a path in it.
        SourceError: if a path does not exist, contains no images, or has an unknown format.
    """
    data = (str(data),) if isinstance(data, str | Path) else tuple(map(str, data))
    if not data:
        raise UsageError("no data given; pass a folder, tar files, Parquet files, or 'demo'")
    if not all(data):
        raise UsageError("the data has an empty path; write . for the current folder")
    cache = default_cache() if cache is None else cache
    reporter = reporter or Silent()
    roots: dict[str, list[Shard]] = {}
    for argument in data:
        for path in expand(_resolve_name(argument, cache, reporter)):
            roots.update(list_shards(path if is_url(path) else os.path.abspath(path), reporter))
    shards = sorted(name_shards(roots), key=lambda shard: shard.name)
    return Dataset(choose_title(data), tuple(shards), tuple(_make_absolute(item) for item in data))


def _resolve_name(argument: str, cache: Path, reporter: Reporter) -> str:
    """Replace the name of a dataset by its folder; return paths, URLs and patterns as they are."""
    argument = argument if is_url(argument) else os.path.expanduser(argument)
    if argument == DEMO:
        from pipeline.data.demo import build_demo

        return str(build_demo(cache / DEMO, reporter=reporter))
    if argument.startswith(PREFIX):
        return str(download_dataset(argument, cache))
    return argument


def list_shards(path: str, reporter: Reporter) -> dict[str, list[Shard]]:
    """Map each path or URL to its shards; `name_shards` completes their names.

    Args:
        path: absolute, or a URL: of a folder, a tar or a Parquet file.
        reporter: receives what is skipped.

    Raises:
        SourceError: if it does not exist, contains no images, or has an unknown format.
    """
    if not _is_folder(path):
        return {path: [_open_archive(path)]}
    listing = list_folder(path)
    if listing.skipped:
        first, listed = (printable(name) or "." for name in listing.skipped[0])
        reporter.note(
            f"{path}: folders that links lead to are read once; skipped {len(listing.skipped)} more paths "
            f"to them ({first}, which is {listed}{', ...' if len(listing.skipped) > 1 else ''})"
        )
    if listing.images and listing.shards:
        raise MissingSource(
            f"{path} contains both images ({listing.images[0][0]}, ...) and shards "
            f"({listing.shards[0]}, ...); select one kind, for example {path}/*.tar"
        )
    if listing.images:
        return {path: list(folder_shards(path, listing.images))}
    if not listing.shards:
        raise MissingSource(
            f"{path} contains no images; expected class folders of image files, image files, "
            "or .tar or .parquet shards"
        )
    inside = [f"{path.rstrip('/')}/{shard}" for shard in listing.shards]
    return {shard: [_open_archive(shard)] for shard in inside}


def _is_folder(path: str) -> bool:
    if not is_url(path):
        if not os.path.exists(path):
            raise MissingSource(f"{path} does not exist{_suggest_name(path)}")
        return os.path.isdir(path)
    if path.partition("?")[0].endswith((".tar", ".parquet")):
        return False
    fs, inner = filesystem(path)
    return retrying(lambda: bool(fs.isdir(inner)), path)


def _suggest_name(path: str) -> str:
    """Return a hint that names similar files in the same folder."""
    parent = os.path.dirname(path) or "."
    names = os.listdir(parent) if os.path.isdir(parent) else []
    return did_you_mean(os.path.basename(path), names)


def _open_archive(path: str) -> Shard:
    """Create the shard of a tar or Parquet file, without a name."""
    suffix = basename(path).rpartition(".")[2].lower()
    if suffix == "parquet":
        from pipeline.data.parquet import parquet_shard

        return parquet_shard(path)
    if suffix in ("tar", "tgz", "gz", "bz2", "xz", "zst"):
        return TarShard(name="", size=size_of(path), url=path)
    missing = "does not exist, or " if is_url(path) else ""
    raise MissingSource(f"{path} {missing}is neither a folder nor a .tar or .parquet file")


def _make_absolute(argument: str) -> str:
    """Make a local path absolute, so that it is valid in any working directory."""
    if argument == DEMO or argument.startswith((PREFIX, "{")) or is_url(argument):
        return argument
    return os.path.abspath(os.path.expanduser(argument))
