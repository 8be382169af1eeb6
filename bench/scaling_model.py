"""How long does indexing take on 1 to 1,000 GPUs, what does it cost, and what limits it?

    python bench/scaling_model.py
    python bench/scaling_model.py --workers 1,2 --images 20000 --gpu 50 --decode 1000 --price 0

Prints a table for each size of dataset from a model:

- A worker indexes at the rate of its GPU or of the cores that decode for it, whichever is lower.
- A task indexes and commits `--per-task` images. Tasks are dispatched by one process, and the run ends with
  its slowest worker, so that time is counted in whole rounds of tasks.
- The merge runs in one process, while the workers wait: a part and an image take a fixed time each.

The bottleneck is the largest of these: decoding or the GPU, commits, the last round (workers without a task),
dispatch, start, and the merge. **The rates of GPUs, of decoding and the price are assumptions; what the
engine, the commit and the merge take was measured by `bench/scale.py` on 2 shared cores without a GPU.**

    python bench/scaling_model.py --check 12000

indexes so many small images in this process, which gives the rate of a worker and the time of the merge, and
then with Ray and two workers of one core, and compares that time with the model's.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ADVICE = {
    "GPU": "more GPUs, or --precision bf16",
    "decoding": "more cores for each GPU, or --decoder nvjpeg",
    "last round": "fewer shards a task, or fewer GPUs",
    "commits": "more shards a task",
    "dispatch": "more shards a task",
    "start": "fewer GPUs: the run is too short for them",
    "merge": "release the GPUs: --shard-range, then maxact merge on one machine",
}


COMMIT_S, COMMIT_UNIT_S = 0.11, 0.00032
"""Seconds of a commit, and further ones for each unit: `bench/scale.py --commits`, on a busy machine."""

PART_S, PART_UNIT_S = 0.006, 0.00001
"""Seconds of CPU of the merge for a part, and for each unit of a part: `bench/scale.py --merge`."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a run is made of.

    Args:
        gpu: images per second of a GPU.
        decode: images per second of the cores that decode for it.
        per_task: images of a task.
        task_s: seconds of the dispatching process for each task.
        commit_s: seconds in which a worker commits a task's part and does nothing else.
        start_s: seconds until the first worker computes.
        part_s: seconds of the merge for each part.
        merged: images per second of the merge.
        price: of a GPU for an hour, with its cores.
    """

    gpu: float
    decode: float
    per_task: int
    task_s: float
    commit_s: float
    start_s: float
    part_s: float
    merged: float
    price: float


@dataclass(frozen=True, slots=True)
class Run:
    """What the model says of a run.

    Args:
        seconds: until the tables are written.
        bottleneck: a key of `ADVICE`.
        share: of the seconds that the bottleneck takes.
        cost: of a million images.
    """

    seconds: float
    bottleneck: str
    share: float
    cost: float


def model(images: int, workers: int, costs: Costs) -> Run:
    """Model a run of so many workers over so many images."""
    rate = min(costs.gpu, costs.decode)
    tasks = math.ceil(images / costs.per_task)
    each = min(costs.per_task, images) / rate
    useful = images / rate / workers
    rounds = math.ceil(tasks / workers)
    working = rounds * (each + costs.commit_s)
    dispatch = max(0.0, tasks * costs.task_s - working)
    parts = {
        "GPU" if costs.gpu <= costs.decode else "decoding": useful,
        "commits": rounds * costs.commit_s,
        "last round": max(0.0, rounds * each - useful),
        "dispatch": dispatch,
        "start": costs.start_s,
        "merge": tasks * costs.part_s + images / costs.merged,
    }
    seconds = sum(parts.values())
    worst = max(parts, key=lambda name: parts[name])
    cost = costs.price * workers * seconds / 3600 / (images / 1e6)
    return Run(seconds, worst, parts[worst] / seconds, cost)


def check(images: int) -> None:
    """Compare the model with a cluster of two workers of one core."""
    from bench.engine_tasks import seconds_of
    from bench.memory import PER_SHARD, small_network, write_shards
    from pipeline.config import EngineConfig, RunConfig
    from pipeline.engines.open_engine import open_engine
    from pipeline.progress import Silent
    from pipeline.runs.run import run_index

    ends: list[float] = []

    class Noting(Silent):
        def task(self, title, total=None, unit=""):
            if title in ("indexing", "merging parts"):
                ends.append(time.monotonic())
            return super().task(title, total, unit)

    def index(data: Path, out: Path, engine: Any) -> tuple[float, float]:
        network, layers = small_network(None)
        config = RunConfig(
            data=(str(data),), out=out, layers=layers, compile="off", workers=1, threads=1, shards_per_part=1
        )
        run_index(config, network=network, reporter=Noting(), engine=engine)
        begun, indexed = ends[-2:]
        return indexed - begun, time.monotonic() - indexed

    with tempfile.TemporaryDirectory() as name, open_engine(EngineConfig("ray"), "cpu") as engine:
        folder = Path(name)
        (folder / "data").mkdir()
        write_shards(folder / "data", images)
        index(folder / "data", folder / "warm", None)
        alone, merging = index(folder / "data", folder / "one", None)
        start = seconds_of(engine, 1)
        together, merged = index(folder / "data", folder / "two", engine)
        workers = engine.slots
    rate = images / alone
    costs = Costs(rate, math.inf, PER_SHARD, 0.005, 0, start, 0, images / merging, 0)
    seconds = model(images, workers, costs).seconds
    found = together + merged
    print(
        f"one process {rate:,.0f} images/s; {workers} workers: model {seconds:.1f} s (start {start:.1f}, "
        f"merge {merging:.1f}), measured {found:.1f} s: {found / seconds - 1:+.0%}"
    )


def duration(seconds: float) -> str:
    """Seconds as minutes, hours or days."""
    for size, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s"


def print_model(images: int, workers: list[int], costs: Costs) -> None:
    """Print a row for each number of workers."""
    print(f"\n{images:,} images\n")
    print("| GPUs | time | images/s | cost of a million images | bottleneck | what to do |")
    print("|---|---|---|---|---|---|")
    for number in workers:
        run = model(images, number, costs)
        print(
            f"| {number:,} | {duration(run.seconds)} | {images / run.seconds:,.0f} | {run.cost:.2f} "
            f"| {run.bottleneck} ({run.share:.0%}) | {ADVICE[run.bottleneck]} |"
        )


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--images", type=numbers, default=[14_000_000, 2_000_000_000])
    add("--workers", type=numbers, default=[1, 10, 100, 1000])
    add("--gpu", type=float, default=7000, help="images/s of a GPU; not measured")
    add("--decode", type=float, default=7800, help="images/s that are decoded for a GPU; not measured")
    add("--per-task", type=int, default=64_000, help="images of a task")
    add("--task-ms", type=float, default=5, help="of the dispatching process, each task")
    add(
        "--units",
        type=int,
        default=3000,
        help="of all layers; a commit and a part to merge take time for each",
    )
    add("--start-s", type=float, default=60, help="until workers compute; not measured with GPUs")
    add("--merged", type=float, default=130_000, help="images/s of the merge")
    add("--price", type=float, default=3, help="of a GPU for an hour; an assumption")
    add("--check", type=int, help="images, to compare the model with a cluster of this machine")
    asked = parser.parse_args()
    if asked.check:
        check(asked.check)
        return
    costs = Costs(
        asked.gpu,
        asked.decode,
        asked.per_task,
        asked.task_ms / 1000,
        COMMIT_S + COMMIT_UNIT_S * asked.units,
        asked.start_s,
        PART_S + PART_UNIT_S * asked.units,
        asked.merged,
        asked.price,
    )
    print(
        f"A model, not a measurement: a GPU of {asked.gpu:,.0f} images/s, {asked.decode:,.0f} images/s that "
        f"are decoded for it, and a price of {asked.price:g} an hour are assumptions."
    )
    for images in asked.images:
        print_model(images, asked.workers, costs)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
