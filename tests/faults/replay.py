"""Runs cases by their seeds and says what went wrong.

    python -m tests.faults.replay 17 18 19
    python -m tests.faults.replay --command 'sheets out --layer first' --state complete --runs 50

The second form disturbs any command line that works in a folder with `out`, `data` and `net.py`.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.faults.harness import Harness, why_not
from tests.faults.judge import Judge, Verdict
from tests.faults.plan import Case, case_of, fault_of
from tests.faults.scenarios import STATES, Lab

__all__ = ["describe"]


def describe(verdict: Verdict) -> str:
    """Lines about a case that has failed."""
    lines = [str(verdict.case), *(f"  WRONG {line}" for line in verdict.violations)]
    return "\n".join([*lines, *(f"  note: {line}" for line in verdict.notes)])


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.replay", description=__doc__)
    parser.add_argument("seeds", nargs="*", type=int, help="seeds of cases to run")
    parser.add_argument("--command", help="disturb this command line instead")
    parser.add_argument("--state", choices=STATES, default="complete", help="of OUT before the command")
    parser.add_argument("--runs", type=int, default=20, help="faults to try with --command")
    parser.add_argument("--verbose", action="store_true", help="also describe cases that went well")
    given = parser.parse_args()
    if reason := why_not():
        sys.exit(f"cannot inject faults: {reason}")
    cases = [case_of(seed) for seed in given.seeds]
    if given.command:
        cases += [
            Case(seed, given.state, "given", fault_of(random.Random(f"given {seed}")))
            for seed in range(given.runs)
        ]
    folder = Path(tempfile.mkdtemp(prefix="maxact-faults-"))
    failed = 0
    with Harness(folder / "harness") as harness:
        judge = Judge(Lab(folder / "lab", harness), {"given": given.command or ""})
        for case in cases:
            verdict = judge.judge(case)
            failed += bool(verdict.violations)
            if verdict.violations or given.verbose:
                print(describe(verdict), flush=True)
    print(
        f"{failed} of {len(cases)} failed; what they left is in {folder}"
        if failed
        else f"{len(cases)} went well"
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
