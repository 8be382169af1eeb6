"""Run the benchmarks at a small size, and write what they print to bench/RESULTS.md.

    python -m bench [--only index,query] [--peers PYTHON] [--out bench/RESULTS.md] [--list]

With `--only`, the sections of the others stay as they are in the file. Every benchmark runs in a process of
its own, and the file is written after each. Where one fails, the last line that it printed follows its
table, and the exit code is 1. How long the rest takes is told from the file of the run before. Those
that compare maxact with other libraries (zennit-crp, semanticlens, torch-lucent, Horama) are run by the
interpreter `--peers`, in whose environment `make bench` installs them.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from bench.suite import SUITE, Benchmark

ROOT = Path(__file__).parents[1]


def machine() -> str:
    """Processor, memory and versions, in a line."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    names = ("torch", "torchvision", "timm", "duckdb", "pyarrow", "numpy")
    found = [f"{name} {importlib.metadata.version(name)}" for name in names]
    return (
        f"{os.cpu_count()} cores of {cpu}, {memory:.0f} GiB, {platform.system()}, Python "
        f"{platform.python_version()}, {', '.join(found)}"
    )


def run(benchmark: Benchmark, python: str) -> tuple[str, bool]:
    """The section of one benchmark, and whether it ran."""
    command = [python, *shlex.split(benchmark.words)]
    started = time.monotonic()
    load = os.getloadavg()[0]
    environment = os.environ | {"OMP_NUM_THREADS": str(benchmark.threads), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    minutes = (time.monotonic() - started) / 60
    said = "\n".join(line.rstrip() for line in ended.stdout.strip().splitlines())
    if ended.returncode:
        last = (ended.stderr.strip() or said).splitlines()[-1:]
        said += f"\n\n**failed** with exit code {ended.returncode}: {''.join(last)}"
    lines = (
        f"## {benchmark.question}",
        f"    python {benchmark.words}",
        said,
        f"{minutes:.1f} minutes on {datetime.date.today()}; the load of the machine was {load:.1f} when it "
        "began.",
    )
    return "\n\n".join(lines) + "\n", not ended.returncode


def earlier(path: Path) -> dict[str, str]:
    """The sections of an earlier run by their questions."""
    if not path.exists():
        return {}
    sections = path.read_text().split("\n## ")[1:]
    return {section.partition("\n")[0]: f"## {section.rstrip()}\n" for section in sections}


def expected_minutes(section: str) -> float:
    """What a benchmark took in an earlier run; a minute if it is not known."""
    found = re.search(r"^([0-9.]+) minutes(?: on [0-9-]+)?; the load", section, re.MULTILINE)
    return float(found[1]) if found else 1.0


def write(path: Path, sections: dict[str, str]) -> None:
    """Write the sections of the benchmarks that have one, in their order."""
    head = (
        "# Results of the benchmarks\n",
        "Written by `make bench`. bench/README.md explains the tables and has those of full size; the "
        "docstring of a script says how it measures and what its rows are. Compare ratios within one table "
        "only.\n",
        f"{machine()}.\n",
    )
    found = (sections[benchmark.question] for benchmark in SUITE if benchmark.question in sections)
    path.write_text("\n".join((*head, *found)))


def run_all(chosen: list[Benchmark], peers: str, path: Path) -> bool:
    """Run benchmarks one after another, and write the file after each; whether all ran."""
    sections = earlier(path)
    left = [expected_minutes(sections.get(benchmark.question, "")) for benchmark in chosen]
    started = time.monotonic()
    failed = []
    for number, benchmark in enumerate(chosen):
        so_far = (time.monotonic() - started) / 60
        print(
            f"{number + 1} of {len(chosen)}: {benchmark.name} ({so_far:.0f} minutes so far, "
            f"about {sum(left[number:]):.0f} more)",
            file=sys.stderr,
            flush=True,
        )
        section, ran = run(benchmark, peers if benchmark.compares else sys.executable)
        sections[benchmark.question] = section
        failed += [] if ran else [benchmark.name]
        write(path, sections)
    minutes = (time.monotonic() - started) / 60
    print(f"{len(chosen)} benchmarks in {minutes:.0f} minutes", file=sys.stderr)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return not failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", help="names, separated by commas")
    parser.add_argument("--peers", default=sys.executable, help="Python that has the other libraries")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/RESULTS.md")
    parser.add_argument("--list", action="store_true", help="print the names and the commands")
    asked = parser.parse_args()
    names = [benchmark.name for benchmark in SUITE]
    only = names if asked.only is None else asked.only.split(",")
    if unknown := set(only) - set(names):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if asked.list:
        for benchmark in SUITE:
            print(f"{benchmark.name:16} python {benchmark.words}")
        return 0
    ran = run_all([benchmark for benchmark in SUITE if benchmark.name in only], asked.peers, asked.out)
    print(asked.out)
    return int(not ran)


if __name__ == "__main__":
    sys.exit(main())
