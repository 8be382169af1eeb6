"""How fast does an index answer?

    python -m bench.query [--rows 5000000] [--images 1280000] [--rounds 15] [--keep FOLDER]

An index is written without a network: `--images` images, and units in ten layers with 64 highest and 64
lowest peaks each, as many as give `--rows` rows of `top`. Images are drawn so that some are in many lists.
The table has the median of `--rounds` calls in milliseconds after the first one, which is listed apart; the
last row is a new process of `maxact top`, with its start.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa

from pipeline.cli.output import print_page
from pipeline.image_id import POSITION_BITS
from pipeline.query.index import Index, open_index
from pipeline.runs.image_tables import IMAGES_ROW_GROUP
from pipeline.store.schemas import IMAGES, SCHEMAS, TOP, UNITS
from pipeline.store.tables import write_table
from tests.fixtures.small_index import build_index, layer_record

TOP_K = 64
LAYERS = 10
GRID = 14
SHARD = 10_000
"""Images of a shard."""


def write_index(folder: Path, rows: int, images: int) -> Path:
    """Write the index; returns its folder."""
    out = build_index(folder)
    units = max(1, rows // (2 * TOP_K * LAYERS))
    layers = [
        layer_record((f"blocks.{n}", n, "map", units, 0, GRID, GRID, 95, 95, 16, -40)) for n in range(LAYERS)
    ]
    write_table(out / "layers.parquet", SCHEMAS["layers"], [pa.Table.from_pylist(layers, SCHEMAS["layers"])])
    write_table(out / "images.parquet", IMAGES, image_tables(images), row_group_rows=IMAGES_ROW_GROUP)
    write_table(out / "top.parquet", TOP, top_tables(units, images), sought="image_id")
    write_table(out / "units.parquet", UNITS, unit_tables(units, images))
    for name in ("strata", "classes", "histograms"):
        write_table(out / f"{name}.parquet", SCHEMAS[name], [SCHEMAS[name].empty_table()])
    (out / "names.parquet").unlink()
    run = json.loads((out / "run.json").read_text())
    run["counts"] |= {"images": images, "units": LAYERS * units, "layers": LAYERS}
    (out / "run.json").write_text(json.dumps(run))
    return out


def image_ids(numbers: np.ndarray) -> np.ndarray:
    """The image_id of the n-th image."""
    ids: np.ndarray = (numbers // SHARD << POSITION_BITS) + numbers % SHARD
    return ids


def image_tables(images: int) -> Iterator[pa.Table]:
    """Rows of `images`, a shard at a time."""
    generator = np.random.default_rng(0)
    for first in range(0, images, SHARD):
        numbers = np.arange(first, min(first + SHARD, images))
        count = len(numbers)
        columns = {
            "image_id": image_ids(numbers),
            "key": [f"n{n % 1000:08}/n{n % 1000:08}_{n}.JPEG" for n in numbers],
            "shard": [f"train-{first // SHARD:04}.tar"] * count,
            "offset": numbers % SHARD * 110_000,
            "bytes": np.full(count, 110_000),
            "width": np.full(count, 500),
            "height": np.full(count, 375),
            "label": [f"n{n % 1000:08}" for n in numbers],
            "digest": generator.integers(-(1 << 62), 1 << 62, count),
            "phash": generator.integers(-(1 << 62), 1 << 62, count),
        }
        filled = {name: columns.get(name, [None] * count) for name in IMAGES.names}
        yield pa.table(filled).cast(IMAGES)


def top_tables(units: int, images: int) -> Iterator[pa.Table]:
    """Rows of `top`, a layer at a time."""
    generator = np.random.default_rng(1)
    for layer in range(LAYERS):
        count = units * 2 * TOP_K
        # Squares of uniform numbers: low image numbers are in many lists.
        numbers = (generator.random(count) ** 2 * images).astype(np.int64)
        rank = np.tile(np.arange(1, TOP_K + 1), 2 * units)
        side = np.tile(np.repeat([0, 1], TOP_K), units)
        yield pa.table(
            {
                "layer": [f"blocks.{layer}"] * count,
                "unit": np.repeat(np.arange(units), 2 * TOP_K),
                "side": pa.DictionaryArray.from_arrays(side.astype(np.int32), ["high", "low"]),
                "rank": rank,
                "activation": np.where(side == 0, 100.0 - rank, rank - 100.0),
                "image_id": image_ids(numbers),
                "y": generator.integers(0, GRID, count),
                "x": generator.integers(0, GRID, count),
            }
        ).cast(TOP)


def unit_tables(units: int, images: int) -> Iterator[pa.Table]:
    """Rows of `units`."""
    for layer in range(LAYERS):
        values = {"layer": [f"blocks.{layer}"] * units, "unit": np.arange(units)}
        numbers = {
            "images": images,
            "mean": 1.0,
            "std": 1.0,
            "min": -99.0,
            "max": 99.0,
            "active_fraction": 0.5,
        }
        columns = {
            name: values.get(name, [numbers.get(name)] * units)  # type: ignore[call-overload]
            for name in UNITS.names
        }
        yield pa.table(columns).cast(UNITS)


def questions(units: int, images: int) -> dict[str, Callable[[Index, int], object]]:
    """What is asked, of another layer and unit each time."""
    return {
        "Index.top, 9 images": lambda index, n: index.top(f"blocks.{n % LAYERS}", 37 * n % units, n=9),
        "Index.top, one unit of a layer after another": lambda index, n: index.top(
            "blocks.3", n % units, n=9
        ),
        "query top_images": lambda index, n: index.query(
            "top_images", layer=f"blocks.{n % LAYERS}", unit=37 * n % units
        ),
        "query image_units": lambda index, n: index.query(
            "image_units", image=int(image_ids(np.array([(71 * n + 1) * 9973 % images]))[0])
        ),
        "query image_units, an image in many lists": lambda index, n: index.query(
            "image_units", image=int(image_ids(np.array([71 * n]))[0])
        ),
        "query hub_images": lambda index, n: index.query("hub_images"),
        "query hub_images of a layer": lambda index, n: index.query(
            "hub_images", layer=f"blocks.{n % LAYERS}"
        ),
    }


def milliseconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e3


def measure(out: Path, units: int, images: int, rounds: int) -> Iterator[tuple[str, float, float]]:
    """Question, the first time, and the median of the others, in milliseconds."""
    times = [milliseconds(lambda: open_index(out).close()) for _ in range(rounds + 1)]
    yield "open_index", times[0], median(times[1:])
    with open_index(out) as index:
        for name, ask in questions(units, images).items():
            times = [milliseconds(lambda n=n, ask=ask: ask(index, n)) for n in range(rounds + 1)]  # type: ignore[misc]
            yield name, times[0], median(times[1:])
    words = [sys.executable, "-m", "viz", "top", str(out), "blocks.3", "17"]
    times = [
        milliseconds(lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL)) for _ in range(4)
    ]
    yield "maxact top, a process", times[0], median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=5_000_000, help="rows of `top`")
    parser.add_argument("--images", type=int, default=1_280_000, help="rows of `images`")
    parser.add_argument("--rounds", type=int, default=15, help="calls of each question")
    parser.add_argument("--keep", type=Path, help="folder for the index; one that is there is used again")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        out = folder / "index"
        if not out.exists():
            folder.mkdir(parents=True, exist_ok=True)
            out = write_index(folder, asked.rows, asked.images)
        units = max(1, asked.rows // (2 * TOP_K * LAYERS))
        print_page(f"{asked.rows:,} rows of top, {asked.images:,} images\n")
        print_page("| question | first, ms | median, ms |\n|---|---|---|")
        for name, first, usual in measure(out, units, asked.images, asked.rounds):
            print_page(f"| {name} | {first:.1f} | {usual:.1f} |")


if __name__ == "__main__":
    main()
