"""What does it cost that a run can be resumed, and how much of an interrupted run is done again?

    python bench/resume.py [--network efficientnet_lite0] [--data demo] [--rounds 3]

Indexes the demo in parts of one shard, with a network in memory and one thread, three times a round: at once,
interrupted half way, and resumed. The overhead of being resumable is the time in which parts are written,
synced and committed, measured by committing the parts of a finished index again; that of having been
interrupted is the process time of both halves beyond that of the whole run, of which the images after the last
commit are the larger part. Medians of the rounds.
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
from pipeline.networks.network import load_network
from pipeline.progress import Silent, Task
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


class _Counting:
    def __init__(self, left: int) -> None:
        self.left = left

    def advance(self, count: int = 1) -> None:
        self.left -= count
        if self.left <= 0:
            raise KeyboardInterrupt

    def describe(self, text: str) -> None: ...

    def expect(self, total: int | None) -> None: ...


def process_seconds(work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--data", default="demo")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    network = load_network(asked.network)
    whole, commits, again, parts, images = [], [], [], 0, 0
    for number in range(asked.rounds + 1):  # the first one warms up
        with tempfile.TemporaryDirectory() as folder:
            at_once = RunConfig(
                asked.data, Path(folder) / "at-once", shards_per_part=1, workers=1, compile="off"
            )
            halved = RunConfig(
                asked.data, Path(folder) / "halved", shards_per_part=1, workers=1, compile="off"
            )
            spent = process_seconds(lambda: run_index(at_once, network=network))
            done = list_commits(at_once.out / "parts")
            parts, images = len(done), sum(shard.images for commit in done for shard in commit.shards)
            loaded = [commit.load() for commit in done]
            copies = Path(folder) / "copies"
            committing = process_seconds(lambda: [commit_part(copies, part, "f" * 64) for part in loaded])

            def interrupted() -> None:
                try:
                    run_index(halved, network=network, reporter=Interrupting(images // 2 + 20))
                except KeyboardInterrupt:
                    return
                raise SystemExit("the run was not interrupted")

            both = process_seconds(interrupted) + process_seconds(lambda: run_index(halved, network=network))
            if number:
                whole.append(spent)
                commits.append(committing)
                again.append(both - spent)
    total = statistics.median(whole)
    print(f"{asked.network}, {images:,} images in {parts} parts, median of {asked.rounds}\n")
    print("| | seconds | of the run |\n|---|---|---|")
    print(f"| the run at once | {total:.1f} | |")
    print(
        f"| of that: committing parts | {statistics.median(commits):.2f} | {statistics.median(commits) / total:.1%} |"
    )
    print(
        f"| more, interrupted and resumed | {statistics.median(again):.1f} | {statistics.median(again) / total:.1%} |"
    )


if __name__ == "__main__":
    main()
