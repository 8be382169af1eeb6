"""How long do questions to an index take?

    python bench/query.py [--rows 5000000] [--images 1280000] [--rounds 15]

Makes a synthetic index in a temporary folder: ten layers, 100 images on each list and both sides of each
unit, so that 5 million rows of `top` are 25,000 units. Images are drawn uniformly, which is the worst case
for finding one image's rows. Prints the median and the slowest round in milliseconds of wall time. A
warm question is asked of an open index, of another unit or image each round, after one that is not
counted; `cold` is a new process, `open` a new `Index` in a warm process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.image_id import image_id
from pipeline.query.index import Index, open_index
from pipeline.store.schemas import IMAGES, LAYERS, SCHEMAS, TOP
from pipeline.store.tables import write_table
from tests.fixtures.small_index import build_index, layer_record

LAYER_COUNT = 10
LIST = 100
PER_SHARD = 1000


def image_ids(count: int) -> np.ndarray:
    """Return int64 (count,): the numbers of the images, in rising order."""
    return np.array([image_id(n // PER_SHARD, n % PER_SHARD) for n in range(count)], dtype=np.int64)


def image_batches(numbers: np.ndarray) -> Iterator[pa.Table]:
    """Yield the rows of `images`, a shard at a time."""
    generator = np.random.default_rng(0)
    for first in range(0, len(numbers), 100 * PER_SHARD):
        ids = numbers[first : first + 100 * PER_SHARD]
        rows = np.arange(first, first + len(ids))
        columns = {
            "image_id": ids,
            "key": [f"n{n % 1000:08}/n{n % 1000:08}_{n}.JPEG" for n in rows],
            "shard": [f"photographs/{n // PER_SHARD}" for n in rows],
            "offset": rows * 110_000,
            "bytes": generator.integers(20_000, 200_000, len(ids)),
            "width": generator.integers(200, 800, len(ids)),
            "height": generator.integers(200, 800, len(ids)),
            "label": [f"n{n % 1000:08}" for n in rows],
            "digest": generator.integers(-(2**62), 2**62, len(ids)),
            "phash": generator.integers(-(2**62), 2**62, len(ids)),
        }
        nulls = {name: pa.nulls(len(ids)) for name in ("origin", "duplicate_of")}
        table = pa.table({**columns, **nulls})
        yield table.select(IMAGES.names).cast(IMAGES)


def top_batches(rows: int, numbers: np.ndarray) -> Iterator[pa.Table]:
    """Yield the rows of `top`, a hundred units at a time."""
    generator = np.random.default_rng(1)
    units = rows // (LAYER_COUNT * 2 * LIST)
    for layer in range(LAYER_COUNT):
        for first in range(0, units, 100):
            mine = np.arange(first, min(first + 100, units))
            count = len(mine) * 2 * LIST
            shape = (len(mine), 2, LIST)
            yield pa.table(
                {
                    "layer": pa.array([f"layer.{layer}"] * count),
                    "unit": np.broadcast_to(mine[:, None, None], shape).ravel(),
                    "side": pa.array((["high"] * LIST + ["low"] * LIST) * len(mine)),
                    "rank": np.broadcast_to(np.arange(1, LIST + 1), shape).ravel(),
                    "activation": -np.sort(-generator.gamma(2, 1, shape), axis=2).ravel(),
                    "image_id": generator.choice(numbers, count),
                    "y": generator.integers(0, 14, count),
                    "x": generator.integers(0, 14, count),
                }
            ).cast(TOP)


def make_index(folder: Path, rows: int, images: int) -> Path:
    """Write a synthetic index under `folder` and return its path."""
    out = build_index(folder)
    numbers = image_ids(images)
    units = rows // (LAYER_COUNT * 2 * LIST)
    layers = [
        layer_record((f"layer.{n}", n, "map", units, 0, 14, 14, 99, 99, 16, -40)) for n in range(LAYER_COUNT)
    ]
    write_table(out / "layers.parquet", LAYERS, [pa.Table.from_pylist(layers, schema=LAYERS)])
    write_table(out / "images.parquet", IMAGES, image_batches(numbers))
    write_table(out / "top.parquet", TOP, top_batches(rows, numbers))
    for name in ("units", "strata", "classes", "histograms"):
        write_table(out / f"{name}.parquet", SCHEMAS[name], [SCHEMAS[name].empty_table()])
    return out


def timed(ask: Callable[[int], object], rounds: int) -> tuple[float, float]:
    """Return the median and the slowest of `rounds` calls, in ms; the first call is not counted."""
    ask(0)
    times = []
    for number in range(1, rounds + 1):
        start = time.perf_counter()
        ask(number)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times), max(times)


def questions(index: Index, numbers: np.ndarray, units: int) -> dict[str, Callable[[int], object]]:
    """Return the warm questions by name; their argument is the number of the round."""

    def unit(n: int) -> tuple[str, int]:
        return f"layer.{n % LAYER_COUNT}", (n * 7919) % units

    def driven(n: int) -> object:
        image = int(numbers[(n * 104_729) % len(numbers)])
        return index.query("image_units", image=image) if has_image_units() else index.sql(DRIVEN, i=image)

    return {
        "Index.top, 9 images": lambda n: index.top(*unit(n)),
        "top_images, 16 images": lambda n: index.query("top_images", layer=unit(n)[0], unit=unit(n)[1]),
        "`top` alone": lambda n: index.sql(ALONE, layer=unit(n)[0], unit=unit(n)[1]),
        "units of an image": driven,
        "hub_images": lambda n: index.query("hub_images"),
    }


ALONE = "SELECT * FROM top WHERE layer = $layer AND unit = $unit AND side = 'high' AND rank <= 16"
DRIVEN = "SELECT layer, unit, rank, activation FROM top WHERE image_id = $i AND side = 'high'"


def has_image_units() -> bool:
    """Whether this version has the named query; older ones are asked in SQL."""
    return (Path(__file__).resolve().parent.parent / "queries" / "image_units.sql").exists()


def main() -> None:
    """Make the index and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--images", type=int, default=1_280_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="use the index that --make wrote here")
    parser.add_argument("--make", action="store_true", help="write the index into --out and stop")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.out or Path(scratch)
        if given.make or given.out is None:
            folder.mkdir(parents=True, exist_ok=True)
            make_index(folder, given.rows, given.images)
        if given.make:
            return
        out, units = folder / "index", given.rows // (LAYER_COUNT * 2 * LIST)
        rounds = given.rounds
        print("| question | median, ms | slowest, ms |\n|---|---|---|")
        with open_index(out) as index:
            for name, ask in questions(index, image_ids(given.images), units).items():
                show(name, timed(ask, rounds))
        show("open", timed(lambda _: open_index(out).close(), rounds))
        command = [sys.executable, "-m", "pipeline", "top", str(out), "layer.3", "17", "--trust"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        run = lambda _: subprocess.run(command, check=True, capture_output=True, env=environment)  # noqa: E731
        show("maxact top, cold", timed(run, 5))


def show(name: str, times: tuple[float, float]) -> None:
    """Print one row."""
    print(f"| {name} | {times[0]:.1f} | {times[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
