"""Runs cases of fresh seeds for a given time, and says how to replay those that fail.

python -m tests.faults.soak [--seconds 3600] [--seed N]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.harness import Harness, why_not
from tests.faults.judge import Judge
from tests.faults.plan import case_of
from tests.faults.replay import describe
from tests.faults.scenarios import Lab

SEEDS = 1 << 40

CASES_PER_HARNESS = 500
"""Cases after which everything is prepared anew, so that what was left does not fill the disk."""


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(SEEDS), help="of the first"
    )
    given = parser.parse_args()
    if reason := why_not():
        sys.exit(f"cannot inject faults: {reason}")
    print(f"seeds from {given.seed} on, for {given.seconds:g} s", flush=True)
    end = time.monotonic() + given.seconds
    failed: list[int] = []
    kinds: Counter[str] = Counter()
    while time.monotonic() < end:
        first = given.seed + sum(kinds.values())
        _run(range(first, first + CASES_PER_HARNESS), end, kinds, failed)
    print(f"{sum(kinds.values())} cases: {', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}")
    if failed:
        print(f"{len(failed)} failed; replay them with")
        print(f"  python -m tests.faults.replay {' '.join(map(str, failed))}")
    return int(bool(failed))


def _run(seeds: range, end: float, kinds: Counter[str], failed: list[int]) -> None:
    """Run cases until the time is up; count them by kind, and add the seeds that fail."""
    with (
        tempfile.TemporaryDirectory(prefix="maxact-faults-") as name,
        Harness(Path(name, "harness")) as harness,
    ):
        judge = Judge(Lab(Path(name, "lab"), harness))
        for seed in seeds:
            if time.monotonic() >= end:
                return
            verdict = judge.judge(case_of(seed))
            kinds[verdict.case.fault.kind if verdict.case.fault else "two at once"] += 1
            if verdict.violations:
                failed.append(seed)
                print(describe(verdict), flush=True)


if __name__ == "__main__":
    sys.exit(main())
