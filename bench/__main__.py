"""Run the benchmarks at a small size, and write what they print to bench/RESULTS.md.

    python -m bench [--only index,query] [--peers PYTHON] [--out bench/RESULTS.md] [--list]

With `--only`, the sections of the others stay as they are in the file. Every benchmark runs in a process of
its own. Where one fails, the last line that it printed follows its table, and the exit code is 1. Those
that compare maxact with other libraries (zennit-crp, semanticlens, torch-lucent, Horama) are run by the
interpreter `--peers`, in whose environment `make bench` installs them.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Benchmark:
    """One run of a script.

    Args:
        name: for `--only`.
        question: that the table answers.
        words: script or module, and its arguments.
        compares: whether it is run in the environment of the other libraries.
        threads: of torch and of the libraries below it.
    """

    name: str
    question: str
    words: str
    compares: bool = False
    threads: int = 1


SUITE = (
    Benchmark(
        "index",
        "What does indexing cost compared with a bare forward pass, and with other libraries?",
        "bench/index.py --images 256 --rounds 1"
        " --modes bare,bare-kept,index,naive,compiled,compiled-convs,crp,semanticlens",
        compares=True,
    ),
    Benchmark(
        "jpeg",
        "Does indexing from JPEG files keep up with decoding and the network?",
        "bench/from_jpeg.py --images 256 --rounds 2",
    ),
    Benchmark("resume", "What does it cost that a run can be resumed?", "bench/resume.py"),
    Benchmark(
        "memory", "Does indexing need more memory for more images?", "bench/memory.py --images 1000,8000"
    ),
    Benchmark(
        "query", "How fast does an index of 5 million rows answer?", "-m bench.query --rounds 9", threads=2
    ),
    Benchmark(
        "query-large",
        "How fast does an index of 100 million rows answer?",
        "-m bench.query --rows 100000000 --rounds 5",
        threads=2,
    ),
    Benchmark(
        "peaks",
        "How large are the peaks of all images, and how fast are they read?",
        "-m bench.peaks --images 200000 --units 1000",
    ),
    Benchmark(
        "render",
        "How long does one unit take to render, compared with other libraries?",
        "bench/render.py",
        compares=True,
    ),
    Benchmark(
        "truth",
        "Which pictures explain a unit?",
        "-m bench.truth demo --layers blocks.4.2 --recipes typical fourier --units 8 --images 400"
        " --threads 1",
    ),
    Benchmark("start", "How long do commands take to start?", "bench/start.py"),
    Benchmark("imports", "How do the modules depend on each other?", "bench/imports.py"),
)


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
        f"{minutes:.1f} minutes; the load of the machine was {load:.1f} when it began.",
    )
    return "\n\n".join(lines) + "\n", not ended.returncode


def earlier(path: Path) -> dict[str, str]:
    """The sections of an earlier run by their questions."""
    if not path.exists():
        return {}
    sections = path.read_text().split("\n## ")[1:]
    return {section.partition("\n")[0]: f"## {section.rstrip()}\n" for section in sections}


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
            print(f"{benchmark.name:12} python {benchmark.words}")
        return 0
    sections = earlier(asked.out)
    failed = False
    for number, benchmark in enumerate(SUITE, start=1):
        if benchmark.name not in only:
            continue
        print(f"{number} of {len(SUITE)}: {benchmark.name}", file=sys.stderr, flush=True)
        sections[benchmark.question], ran = run(
            benchmark, asked.peers if benchmark.compares else sys.executable
        )
        failed |= not ran
    head = (
        "# Results of the benchmarks\n",
        f"Written by `make bench` on {datetime.date.today()}. bench/README.md explains the tables and says "
        "what was measured at full size. Compare ratios within one table only.\n",
        f"{machine()}.\n",
    )
    found = (sections[benchmark.question] for benchmark in SUITE if benchmark.question in sections)
    asked.out.write_text("\n".join((*head, *found)))
    print(asked.out)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
