"""Split the images of DATA into two halves and index each."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import RunConfig
from pipeline.data.dataset import Dataset, open_dataset
from pipeline.data.files import is_url
from pipeline.data.folder import FolderShard
from pipeline.data.shard import IMAGE_SUFFIXES, Sample
from pipeline.errors import UsageError
from pipeline.progress import Reporter
from pipeline.runs.run import run_index

TOP = 32
"""Images that the indexes keep per unit and side; recipes start from these."""


@dataclass(frozen=True, slots=True)
class Source:
    """One image of DATA: a local file to link to, or bytes that are read on demand."""

    name: str
    group: str
    file: Path | None


def list_sources(dataset: Dataset) -> Iterator[Source]:
    """Yield the images of a dataset, grouped by the photograph they were cropped from, if known."""
    for shard in dataset.shards:
        if isinstance(shard, FolderShard) and not is_url(shard.root):
            for path, _ in shard.files:
                yield Source(path, path, Path(shard.root).resolve() / path)
            continue
        for sample in shard.samples():
            if isinstance(sample, Sample):
                yield Source(_name(sample), sample.origin or sample.key, None)


def _name(sample: Sample) -> str:
    """Make a file name, in a folder of its class, for an image that is not a file."""
    suffix = sample.key.rpartition(".")[2].lower()
    digest = hashlib.sha256(sample.key.encode()).hexdigest()[:16]
    name = f"{digest}.{suffix if suffix in IMAGE_SUFFIXES else 'jpg'}"
    return name if sample.label is None else f"{sample.label.replace('/', '_').strip('. ')}/{name}"


def split(
    sources: Sequence[Source], part: int = 0, parts: int = 1, images: int | None = None
) -> tuple[list[Source], list[Source]]:
    """Split one part of the images into two halves, in the order of a hash of their names.

    Args:
        sources: in any order.
        part: number of the part, from 0.
        parts: number of parts of equal size.
        images: number of images to use; None uses all.
    """
    ordered = sorted(sources, key=lambda each: (_hash(each.group), _hash(each.name)))[:images]
    first, last = (len(ordered) * number // parts for number in (part, part + 1))
    middle = (first + last) // 2
    return ordered[first:middle], ordered[middle:last]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def lay_out(folder: Path, sources: Sequence[Source], dataset: Dataset) -> None:
    """Make a folder dataset of some images, with links to files and copies of everything else.

    Raises:
        UsageError: if the folder already contains other images.
    """
    wanted = {source.name: source.file for source in sources}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if there - wanted.keys():
        raise UsageError(f"{folder} holds images of another split; give another --out")
    missing = wanted.keys() - there
    for name in missing:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        file = wanted[name]
        if file is not None:
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(file)
    if all(wanted[name] is not None for name in missing):
        return
    for shard in dataset.shards:
        for sample in shard.samples():
            if isinstance(sample, Sample) and (name := _name(sample)) in missing:
                (folder / name).write_bytes(sample.data)


def index_halves(options: argparse.Namespace, reporter: Reporter) -> tuple[Path, Path]:
    """Split DATA, index both halves unless that is done already, and return their folders."""
    dataset = open_dataset((options.data,), reporter=reporter)
    part, parts = options.part
    halves = split(list(list_sources(dataset)), part, parts, options.images)
    folders = []
    for name, sources in zip(("first", "second"), halves, strict=True):
        lay_out(options.out / "images" / name, sources, dataset)
        config = RunConfig(
            data=(str(options.out / "images" / name),),
            out=options.out / name,
            network=options.network,
            weights=options.weights,
            layers=tuple(options.layers),
            top=TOP,
        )
        run_index(config, reporter=reporter)
        folders.append(config.out)
    return folders[0], folders[1]
