"""Feeds mutants to every reader for a given time, with a limit of memory; prints the seed.

    python -m tests.fuzz.long_run [--seconds 600] [--seed N] [--target tar]

The first input that is neither read nor refused in time is written to a file, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from tests.fuzz.mutation import random_mutant
from tests.fuzz.targets import BINARY, TEXT, Target, check

MEMORY = 1 << 30
"""Bytes that the readers may allocate beyond what the process has when it starts."""


def limit_memory() -> None:
    """Make every allocation fail that exceeds `MEMORY`."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def run(name: str, target: Target[bytes] | Target[str], seconds: float, seed: int) -> bool:
    """Feed mutants to one reader until the time is up; return whether all went well."""
    seeds = target.seeds()
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        mutant = random_mutant(seeds, random.Random(f"{seed} {name} {count}"))  # type: ignore[type-var]
        try:
            check(target, mutant)  # type: ignore[arg-type]
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            report(name, mutant, count, seed)
            return False
        count += 1
    print(f"{name}: {count:,} inputs in {seconds:g} s", flush=True)
    return True


def report(name: str, mutant: bytes | str, count: int, seed: int) -> None:
    """Print the fault and keep the input."""
    traceback.print_exc()
    data = mutant if isinstance(mutant, bytes) else mutant.encode("utf-8", "surrogatepass")
    with tempfile.NamedTemporaryFile(prefix=f"maxact-fuzz-{name}-", delete=False) as file:
        file.write(data)
    print(f"{name}: input {count} of seed {seed} is neither read nor refused; it is in {file.name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600, help="in total")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--target", choices=[*BINARY, *TEXT], action="append")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    targets: dict[str, Target[bytes] | Target[str]] = {**BINARY, **TEXT}
    chosen = options.target or list(targets)
    for name in chosen:
        targets[name].seeds()
    faulthandler.enable()
    warnings.simplefilter("ignore")  # of Pillow and torch, about what they read
    limit_memory()
    passed = [run(name, targets[name], options.seconds / len(chosen), seed) for name in chosen]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
