"""How large are the kept peaks of all images, and how fast are they read?

    python -m bench.peaks [--images 1281167] [--units 3000] [--rounds 9] [--keep FOLDER]

An index is written without a network: `--images` images in shards of 10,000, four shards a part, and
`--units` units in ten layers with float16 peaks, written as `maxact index --keep peaks` writes them. Every
question is asked of another unit or image each time: cold, after the system was told to drop the files from
its memory, and warm, when it has read those bytes before. The times are medians in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np

from bench.query import LAYERS, SHARD, TOP_K, milliseconds, write_index
from pipeline.cli.output import print_page
from pipeline.progress import readable_bytes
from pipeline.query.index import Index, open_index
from pipeline.state.commit_file import Commit, part_name, write_commit
from pipeline.state.part import ShardRecord
from pipeline.store.peak_files import KEPT_PEAKS, PEAKS_FILE, PeakSpill, peak_bytes

SHARDS_PER_PART = 4
_SQL = """
SELECT image_id, peak FROM peaks WHERE layer = $layer AND unit = $unit ORDER BY peak DESC, image_id LIMIT 9
"""

BLOCK = 1024
"""Images whose peaks are added at once, as while indexing."""


def write_parts(out: Path, images: int, units: int) -> list[str]:
    """Write parts with peaks only; returns their names.

    The peaks of a shard are random, and those of another shard the same with the units moved.
    """
    random = np.random.default_rng(0).gamma(1.0, 1.0, (SHARD, units)).astype(np.float16)
    names = []
    for first in range(0, images, SHARD * SHARDS_PER_PART):
        shards = []
        with PeakSpill(out / "parts", units, "float16") as spill:
            for start in range(first, min(first + SHARD * SHARDS_PER_PART, images), SHARD):
                count = min(SHARD, images - start)
                moved = np.roll(random, start // SHARD * 7, axis=1)
                for row in range(0, count, BLOCK):
                    spill.add(moved[row : min(row + BLOCK, count)])
                shards.append(ShardRecord(f"train-{start // SHARD:04}.tar", 1, count, 0))
            name = part_name("0" * 64, shards)
            (out / "parts" / name).mkdir()
            digest = spill.write(out / "parts" / name / PEAKS_FILE)
        tables = dict.fromkeys(("state", "histogram", "labels", "sample", "images", "errors"), "0" * 64)
        path = out / "parts" / f"{name}.json"
        write_commit(Commit(path, "0" * 64, tuple(shards), tables | {"peaks": digest}, units, TOP_K))
        names.append(name)
    return names


def write_kept(folder: Path, images: int, units: int) -> Path:
    """Write the index; returns its folder."""
    out = write_index(folder, units * 2 * TOP_K, images)
    run = json.loads((out / "run.json").read_text())
    run |= {"fields": {KEPT_PEAKS: "float16"}, "parts": write_parts(out, images, units)}
    (out / "run.json").write_text(json.dumps(run))
    return out


def questions(index: Index, units: int) -> dict[str, Callable[[int], object]]:
    """What is asked, of another unit and image each time."""
    each = units // LAYERS
    ids = index.peaks.image_ids

    def place(n: int) -> tuple[str, int]:
        return f"blocks.{n % LAYERS}", 37 * n % each

    def image(n: int) -> int:
        return int(ids[(n * 100_003 + 17) % len(ids)])

    return {
        "one unit over all images": lambda n: index.activations(*_one(place(n))),
        "one image over all units": lambda n: index.peaks.matrix.images(np.array([n * 100_003 % len(ids)])),
        "Index.top, 1,000 images": lambda n: index.top(*place(n), n=1000),
        "Index.top without a label, 100 images": lambda n: index.top(
            *place(n), n=100, without_label="n00000003"
        ),
        "SQL over `peaks`, a unit, ORDER BY peak LIMIT 9": lambda n: index.sql(
            _SQL, layer=place(n)[0], unit=place(n)[1]
        ),
        "query image_profile": lambda n: index.query("image_profile", image=image(n)),
        "Index.top_of_sum, 3 units": lambda n: index.top_of_sum(
            {place(n): 1.0, place(n + 1): 2.0, place(n + 2): -1.0}
        ),
        f"Index.nearest_units, a layer of {each} units": lambda n: index.nearest_units(*place(n)),
    }


def _one(place: tuple[str, int]) -> tuple[str, list[int]]:
    return place[0], [place[1]]


def forget(out: Path) -> None:
    """Tell the system to drop the files of peaks from its memory."""
    for path in out.glob(f"parts/*/{PEAKS_FILE}"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def measure(out: Path, units: int, rounds: int) -> Iterator[tuple[str, float, float]]:
    """Question, and the medians cold and warm, in milliseconds."""
    with open_index(out) as index:
        names = list(questions(index, units))
    for name in names:
        # Each of an index of its own, as an index remembers some units and images.
        with open_index(out) as index, open_index(out) as again:
            ask, repeat = questions(index, units)[name], questions(again, units)[name]
            few = min(rounds, 3) if "nearest" in name else rounds
            _ = ask(99), repeat(99)  # what an index reads once is read
            cold, warm = [], []
            for n in range(few):
                forget(out)
                cold.append(milliseconds(lambda n=n, ask=ask: ask(n)))  # type: ignore[misc]
                warm.append(milliseconds(lambda n=n, repeat=repeat: repeat(n)))  # type: ignore[misc]
            yield name, median(cold), median(warm)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1_281_167)
    parser.add_argument("--units", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=9, help="calls of each question")
    parser.add_argument("--keep", type=Path, help="folder for the index; one that is there is used again")
    asked = parser.parse_args()
    units = asked.units // LAYERS * LAYERS
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        out = folder / "index"
        if not out.exists():
            folder.mkdir(parents=True, exist_ok=True)
            seconds = milliseconds(lambda: write_kept(folder, asked.images, units)) / 1e3
            print_page(f"written in {seconds:.0f} s\n")
        size = sum(path.stat().st_size for path in out.glob(f"parts/*/{PEAKS_FILE}"))
        least = peak_bytes(asked.images, units, "float16")
        print_page(
            f"{asked.images:,} images x {units:,} units: {readable_bytes(size)}, "
            f"{size / (asked.images * units):.4f} bytes a peak, {size / least - 1:.3%} more than the peaks\n"
        )
        print_page("| question | cold, ms | warm, ms |\n|---|---|---|")
        for name, cold, warm in measure(out, units, asked.rounds):
            print_page(f"| {name} | {cold:.1f} | {warm:.1f} |")


if __name__ == "__main__":
    main()
