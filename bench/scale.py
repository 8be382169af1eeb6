"""How much time and memory does it take to commit parts, and to merge them?

    python bench/scale.py
    python bench/scale.py --merge 10000x250,1000x2500,25x100000 --images 64
    python bench/scale.py --rows 1000000,10000000
    python bench/scale.py --commits 50
    python bench/scale.py --tasks 1000

Makes parts of random peaks with `Accumulator`, commits them as `maxact index` does (without waiting for the
disk, except in `--commits`), merges them in a process of its own, and prints a table for each question:

- `--merge PARTSxUNITS,...`: all tables of an index from that many parts of so many units, each with
  `--images` images, `--labels` labels and lists of `--top` places. The rows of lists are parts x units x 2 x
  the places that have an image.
- `--rows N,...`: the tables of images, from parts of 100,000 images each and one unit; of a hundred images
  one is a copy, and one nearly.
- `--tasks N`: N items with which nothing is done, by each engine with two processes.
- `--commits N`: one part of 1,024 images and of 100 to 10,000 units, committed N times.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PART_IMAGES = 100_000
"""Images of a part where images are counted."""

FINGERPRINT = "f" * 64


def layer_of(units: int):
    from pipeline.layers.layer import Layer

    return Layer("fc", 0, "vector", units, 0, 1, 1, 1, 1, 0, 0, 0, 0)


def random_part(number: int, units: int, images: int, labels: int, k: int):
    """A part of one shard: normal peaks, rectified in every other unit."""
    import torch

    from pipeline.data.shard import Sample
    from pipeline.image_id import image_id
    from pipeline.state.part import Part, ShardRecord
    from pipeline.store.schemas import ERRORS
    from pipeline.stream.accumulator import Accumulator
    from pipeline.stream.probes import reduce_view

    shard = f"shard-{number:06}"
    generator = torch.Generator().manual_seed(number)
    accumulator = Accumulator([layer_of(units)], k, torch.device("cpu"))
    for first in range(0, images, 64):
        count = min(64, images - first)
        peaks = torch.randn((count, units), generator=generator)
        peaks[:, ::2].relu_()
        samples = [
            Sample(
                f"{place}",
                f"label {(number + place) % labels}" if labels else None,
                place,
                0,
                b"",
                shard=shard,
                digest=number * 64 + place,
                image_id=image_id(0, place),
            )
            for place in range(first, first + count)
        ]
        accumulator.begin(samples)
        accumulator.watch(0, reduce_view(peaks[:, :, None, None], "max"))
        accumulator.end()
    state = accumulator.finish()
    table = image_rows(number, images, labels)
    return Part((ShardRecord(shard, images, images, 0),), state, table, ERRORS.empty_table())


def image_rows(number: int, images: int, labels: int):
    """The images of a part: of a hundred, one is a copy of one in the part before, and one nearly."""
    import numpy as np
    import pyarrow as pa

    from pipeline.store.schemas import PART_IMAGES

    rng = np.random.default_rng(number)
    place = np.arange(images)
    digest, phash = rng.integers(-(2**63), 2**63 - 1, (2, images))
    if number:
        before = np.random.default_rng(number - 1).integers(-(2**63), 2**63 - 1, (2, images))
        for values, old in zip((digest, phash), before, strict=True):
            values[:-1:100] = old[1::100]
        phash[50:-1:100] = before[1, 51::100] ^ (1 << number % 63)
    texts = pa.array([f"label {label}" for label in range(labels)], pa.string())
    columns = {
        "image_id": place,
        "key": np.char.add(f"{number:06}-", place.astype(str)),
        "shard": pa.DictionaryArray.from_arrays(np.zeros(images, np.int32), pa.array([f"shard-{number:06}"])),
        "offset": place * 100_000,
        "bytes": rng.integers(50_000, 150_000, images),
        "width": rng.integers(200, 1000, images),
        "height": rng.integers(200, 1000, images),
        "digest": digest,
        "phash": phash,
    }
    if labels:
        columns["label"] = pa.DictionaryArray.from_arrays(((number + place) % labels).astype(np.int32), texts)
    arrays = [
        pa.array(columns[field.name]).cast(field.type)
        if field.name in columns
        else pa.nulls(images, field.type)
        for field in PART_IMAGES
    ]
    return pa.table(arrays, PART_IMAGES)


def write_parts(folder: Path, count: int, units: int, images: int, labels: int, k: int) -> float:
    """Commit parts in a process of its own, which does not wait for the disk; the seconds it took."""
    started = time.monotonic()
    words = [sys.executable, __file__, "--write", f"{count}x{units}", "--folder", str(folder)]
    words += ["--images", str(images), "--labels", str(labels), "--top", str(k)]
    subprocess.run(words, check=True)
    return time.monotonic() - started


def write_in_child(folder: Path, count: int, units: int, images: int, labels: int, k: int) -> None:
    from dataclasses import replace

    from pipeline.state.commit import commit_part

    os.fsync = lambda descriptor: None
    first = None
    for number in range(count):
        if images < PART_IMAGES:
            part = random_part(number, units, images, labels, k)
        else:
            first = first or random_part(0, units, 1024, labels, k)
            shard = replace(first.shards[0], name=f"shard-{number:06}", images=images)
            part = replace(first, shards=(shard,), images=image_rows(number, images, labels))
        commit_part(folder / "parts", part, FINGERPRINT)


class Phases:
    """Notes the seconds and the peak of memory of each task."""

    def __init__(self) -> None:
        from pipeline.progress import Silent

        phases: list[tuple[str, float, float]] = []
        self.found = phases

        class Noting(Silent):
            def task(self, title, total=None, unit=""):
                phases.append((title, time.monotonic(), peak_mib()))
                return super().task(title, total, unit)

        self.reporter = Noting()


def peak_mib() -> float:
    """The most memory of this program so far.

    `ru_maxrss` is no less than that of the process which started this one, so it counts only where there is
    no /proc.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def merge_in_child(folder: Path) -> None:
    """Merge all parts of a folder in this process and print a line of JSON."""
    from pipeline.runs.unit_tables import write_index
    from pipeline.state.commit import list_commits

    phases = Phases()
    before = peak_mib()
    started, worked = time.monotonic(), cpu_seconds()
    commits = list_commits(folder / "parts")
    totals = write_index(
        folder,
        [layer_of(commits[0].units)],
        commits,
        fingerprint=FINGERPRINT,
        classes=20,
        reporter=phases.reporter,
    )
    ended = time.monotonic()
    times = [("listing", started), *((title, begun) for title, begun, _ in phases.found), ("", ended)]
    found = {
        "seconds": ended - started,
        "cpu": cpu_seconds() - worked,
        "before_mib": before,
        "peak_mib": peak_mib(),
        "images": totals.images,
        "phases": {title: later - begun for (title, begun), (_, later) in itertools.pairwise(times)},
    }
    print(json.dumps(found))


def merge(folder: Path) -> dict:
    words = [sys.executable, __file__, "--child", "--folder", str(folder)]
    line = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(line.splitlines()[-1])


def bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def print_merges(cases: list[tuple[int, int]], images: int, labels: int, k: int, scratch: Path) -> None:
    print("\nMerging parts:\n")
    columns = "parts | units | rows of lists | GB of parts | seconds | of CPU | peak RSS, MiB | each step, s"
    print(f"| {columns} |")
    print("|---|---|---|---|---|---|---|---|")
    for count, units in cases:
        with tempfile.TemporaryDirectory(dir=scratch) as name:
            folder = Path(name)
            seconds = write_parts(folder, count, units, images, labels, k)
            print(f"{count} parts written in {seconds:.0f} s", file=sys.stderr, flush=True)
            size = bytes_below(folder)
            found = merge(folder)
        rows = 2 * count * units * min(k, images)
        times = ", ".join(f"{title} {taken:.1f}" for title, taken in found["phases"].items())
        print(
            f"| {count:,} | {units:,} | {rows:,} | {size / 1e9:.2f} | {found['seconds']:.1f} "
            f"| {found['cpu']:.1f} | {found['peak_mib']:.0f} | {times} |",
            flush=True,
        )


def print_images(cases: list[int], labels: int, scratch: Path) -> None:
    print("\nMerging the tables of images:\n")
    print("| images | GB of parts | seconds | of CPU | images/s | peak RSS, MiB |")
    print("|---|---|---|---|---|---|")
    for rows in cases:
        with tempfile.TemporaryDirectory(dir=scratch) as name:
            folder = Path(name)
            write_parts(folder, -(-rows // PART_IMAGES), 1, PART_IMAGES, labels, 20)
            size = bytes_below(folder)
            found = merge(folder)
        print(
            f"| {found['images']:,} | {size / 1e9:.3f} | {found['seconds']:.1f} | {found['cpu']:.1f} "
            f"| {found['images'] / found['seconds']:,.0f} | {found['peak_mib']:.0f} |",
            flush=True,
        )


def print_commits(repeats: int, labels: int, k: int, scratch: Path) -> None:
    from pipeline.state.commit import commit_part

    print("\nCommitting a part of 1,024 images:\n")
    print("| units | KB of a part | ms to commit |")
    print("|---|---|---|")
    for units in (100, 1000, 10_000):
        part = random_part(0, units, 1024, labels, k)
        with tempfile.TemporaryDirectory(dir=scratch) as name:
            started = time.monotonic()
            for number in range(repeats):
                commit_part(Path(name) / f"{number}", part, FINGERPRINT)
            seconds = time.monotonic() - started
            size = bytes_below(Path(name)) / repeats
        print(f"| {units:,} | {size / 1e3:,.0f} | {1000 * seconds / repeats:.1f} |", flush=True)


def pairs(text: str) -> list[tuple[int, int]]:
    return [tuple(int(number) for number in case.split("x")) for case in text.split(",") if case]


def options() -> Iterator[tuple[str, dict]]:
    yield "--merge", {"type": pairs, "help": "PARTSxUNITS,..."}
    yield "--rows", {"type": lambda text: [int(number) for number in text.split(",")], "help": "of images"}
    yield "--commits", {"type": int, "help": "repeats"}
    yield "--tasks", {"type": int, "help": "items"}
    yield "--images", {"type": int, "default": 64, "help": "of a part"}
    yield "--labels", {"type": int, "default": 10, "help": "of all images"}
    yield "--top", {"type": int, "default": 20, "help": "places of a list"}
    yield "--scratch", {"type": Path, "help": "folder for the parts"}
    yield "--folder", {"type": Path, "help": argparse.SUPPRESS}
    yield "--write", {"type": pairs, "help": argparse.SUPPRESS}
    yield "--child", {"action": "store_true", "help": argparse.SUPPRESS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, about in options():
        parser.add_argument(name, **about)
    asked = parser.parse_args()
    if asked.write:
        ((count, units),) = asked.write
        write_in_child(asked.folder, count, units, asked.images, asked.labels, asked.top)
    elif asked.child:
        merge_in_child(asked.folder)
    else:
        nothing = not (asked.merge or asked.rows or asked.commits or asked.tasks)
        if asked.tasks:
            from bench.engine_tasks import print_tasks

            print_tasks(asked.tasks)
        if asked.commits or nothing:
            print_commits(asked.commits or 10, asked.labels, asked.top, asked.scratch)
        if asked.merge or nothing:
            cases = asked.merge or [(100, 250), (1000, 250), (100, 2500)]
            print_merges(cases, asked.images, asked.labels, asked.top, asked.scratch)
        if asked.rows or nothing:
            print_images(asked.rows or [100_000, 1_000_000], asked.labels, asked.scratch)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
