"""What does it cost that a run can be resumed, and how much of an interrupted run is done again?

    python bench/resume.py [--network efficientnet_lite0] [--data demo] [--rounds 1]

Indexes the demo in parts of one shard, with a network in memory and one thread, three times a round: at once,
interrupted half way, and resumed. The overhead of being resumable is the time in which parts are written,
synced and committed, measured by committing the parts of a finished index again; that of having been
interrupted is the process time of both halves beyond that of the whole run. It contains the images after the
last commit and what was read ahead. Medians of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from pipeline.config import RunConfig
from pipeline.networks.network import Network, load_network
from pipeline.progress import Silent, SilentTask, Task
from pipeline.runs.run import run_index
from pipeline.state.commit import commit_part, list_commits


class Interrupting(Silent):
    """Ends the run when so many images are indexed."""

    def __init__(self, images: int) -> None:
        self.images = images

    @contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Iterator[Task]:
        with super().task(title, total, unit) as task:
            if title == "indexing":
                yield _Counting(self.images)
            else:
                yield task


class _Counting(SilentTask):
    def __init__(self, left: int) -> None:
        self.left = left

    def advance(self, count: int = 1) -> None:
        self.left -= count
        if self.left <= 0:
            raise KeyboardInterrupt


def process_seconds(work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def measure(folder: Path, data: str, network: Network) -> tuple[float, float, float, int, int]:
    """Seconds of a whole run, of committing its parts, of a halved run beyond it; images and parts."""
    at_once, halved = (
        RunConfig(data, folder / name, shards_per_part=1, workers=1, compile="off")
        for name in ("at-once", "halved")
    )
    spent = process_seconds(lambda: run_index(at_once, network=network))
    done = list_commits(at_once.out / "parts")
    images = sum(shard.images for commit in done for shard in commit.shards)
    parts = [commit.load() for commit in done]
    committing = process_seconds(lambda: [commit_part(folder / "copies", part, "f" * 64) for part in parts])

    def interrupted() -> None:
        try:
            run_index(halved, network=network, reporter=Interrupting(images // 2 + 20))
        except KeyboardInterrupt:
            return
        raise SystemExit("the run was not interrupted")

    both = process_seconds(interrupted) + process_seconds(lambda: run_index(halved, network=network))
    return spent, committing, both - spent, images, len(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--data", default="demo")
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    network = load_network(asked.network)
    rounds = []
    for _ in range(asked.rounds + 1):  # the first one warms up
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(measure(Path(folder), asked.data, network))
    whole, committing, again, images, parts = (
        statistics.median(each) for each in zip(*rounds[1:], strict=True)
    )
    print(f"{asked.network}, {images:,.0f} images in {parts:.0f} parts, median of {asked.rounds}\n")
    print("| | seconds | of the run |\n|---|---|---|")
    print(f"| the run at once | {whole:.1f} | |")
    print(f"| of that: committing parts | {committing:.2f} | {committing / whole:.1%} |")
    print(f"| more, interrupted and resumed | {again:.1f} | {again / whole:.1%} |")


if __name__ == "__main__":
    main()
