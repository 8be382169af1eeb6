"""What does it cost that a run can be resumed, and how much of an interrupted run is done again?

    python bench/resume.py [--network efficientnet_lite0] [--data demo] [--rounds 1]

Indexes the demo in parts of one shard, with one thread, all in one process: at once, interrupted half way and
resumed, and at once again. The network is loaded by each run, and its receptive fields are in the cache, as
where `maxact index` is called again. Times are process times unless it says by the clock; medians of the
rounds.

The overhead of being resumable is the time in which parts are written, synced and committed, measured by
committing the parts of a finished index again; by the clock it contains waiting for the disk. Every run has
it, in proportion to its parts.

That of one interruption is the time of both halves beyond the mean of the runs at once. It does not depend on
the size of the run, and consists of

- starting again: all that the resumed run does before it indexes, and, measured in a process of its own,
  what Python needs to start and to import the libraries;
- images done twice: those that were indexed after the last commit, each counted with the mean time of an
  image of the whole run. At most one part is done twice;
- the rest, such as images that were read ahead and decoded. It is a difference of long runs, so it is known
  no better than the two runs at once agree, which the last row says.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import torch

from pipeline.config import RunConfig
from pipeline.progress import Silent, SilentTask, Task
from pipeline.runs.run import run_index
from pipeline.state.commit import commit_part, list_commits

IMPORTS = """
import pipeline.runs.run
from pipeline.vision_libraries import timm, torchvision
torchvision(), timm()
"""


class Clock(Silent):
    """Notes the process time at which indexing begins and ends, and counts its images.

    Args:
        stop: the run is interrupted when so many images are indexed; by default it is not.
    """

    def __init__(self, stop: float = float("inf")) -> None:
        self.stop = stop
        self.images = 0
        self.started = time.process_time()
        self.began = self.ended = self.started

    @contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Iterator[Task]:
        with super().task(title, total, unit) as task:
            if title != "indexing":
                yield task
                return
            self.began = time.process_time()
            yield _Counting(self)
            self.ended = time.process_time()


class _Counting(SilentTask):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def advance(self, count: int = 1) -> None:
        self.clock.images += count
        if self.clock.images >= self.clock.stop:
            raise KeyboardInterrupt


@dataclass(frozen=True, slots=True)
class Costs:
    """Times of one round in seconds, of the processor unless it says wall, and what was counted."""

    whole: float
    whole_wall: float
    apart: float
    committing: float
    committing_wall: float
    more: float
    importing: float
    start: float
    each: float
    twice: int
    images: int
    parts: int


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of this process, and by the clock."""
    started, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - started, time.perf_counter() - wall


def importing_seconds() -> float:
    """Processor time of a process that imports what a run needs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def interrupt(config: RunConfig, clock: Clock) -> None:
    """Run until the clock interrupts."""
    try:
        run_index(config, reporter=clock)
    except KeyboardInterrupt:
        return
    raise SystemExit("the run was not interrupted")


def warm_up(config: RunConfig) -> None:
    """Do everything once that takes longer in a process the first time; fills the cache."""
    interrupt(config, Clock(stop=1))
    interrupt(config, Clock(stop=1))


def measure(folder: Path, config: RunConfig) -> Costs:
    """Run at once, interrupted and resumed, and at once again."""
    at_once, halved, again = (replace(config, out=folder / name) for name in ("at-once", "halved", "again"))
    clock = Clock()
    whole, wall = seconds(lambda: run_index(at_once, reporter=clock))
    parts = [commit.load() for commit in list_commits(at_once.out / "parts")]
    committing = seconds(lambda: [commit_part(folder / "copies", part, "f" * 64) for part in parts])
    first = Clock(stop=clock.images // 2 + 20)
    both, _ = seconds(lambda: interrupt(halved, first))
    kept = sum(shard.images for commit in list_commits(halved.out / "parts") for shard in commit.shards)
    second = Clock()
    both += seconds(lambda: run_index(halved, reporter=second))[0]
    other, other_wall = seconds(lambda: run_index(again))
    mean = (whole + other) / 2
    importing = importing_seconds()
    return Costs(
        mean,
        (wall + other_wall) / 2,
        abs(whole - other),
        *committing,
        more=both - mean + importing,
        importing=importing,
        start=second.began - second.started,
        each=(clock.ended - clock.began) / clock.images,
        twice=first.images - kept,
        images=clock.images,
        parts=len(parts),
    )


def print_costs(costs: Costs) -> None:
    """Print the table."""
    again = costs.twice * costs.each
    rest = costs.more - costs.importing - costs.start - again
    share, by_clock = costs.committing / costs.whole, costs.committing_wall / costs.whole_wall
    rows = (
        ("the run at once", f"{costs.whole:.1f}", ""),
        ("of that: committing parts", f"{costs.committing:.2f}", f"{share:.1%}"),
        ("the run at once, by the clock", f"{costs.whole_wall:.1f}", ""),
        ("of that: committing parts, by the clock", f"{costs.committing_wall:.2f}", f"{by_clock:.1%}"),
        ("one interruption, whatever the size of the run", f"{costs.more:.1f}", ""),
        ("of that: starting Python, importing libraries", f"{costs.importing:.2f}", ""),
        ("of that: loading the network, reading what is committed", f"{costs.start:.2f}", ""),
        (f"of that: {costs.twice:,.0f} images done twice", f"{again:.2f}", ""),
        ("of that: the rest", f"{rest:.2f}", ""),
        ("difference of two runs at once", f"{costs.apart:.2f}", f"{costs.apart / costs.whole:.1%}"),
    )
    print("| | seconds | of the run |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--data", default="demo")
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rounds = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = RunConfig(
            asked.data,
            folder / "warm",
            network=asked.network,
            shards_per_part=1,
            workers=1,
            compile="off",
            cache=folder / "cache",
        )
        warm_up(config)
        for number in range(asked.rounds):
            rounds.append(measure(folder / f"{number}", config))
    middle = Costs(*(statistics.median(values) for values in zip(*map(astuple, rounds), strict=True)))
    print(
        f"{asked.network}, {middle.images:,.0f} images in {middle.parts:.0f} parts, "
        f"median of {asked.rounds}\n"
    )
    print_costs(middle)


if __name__ == "__main__":
    main()
