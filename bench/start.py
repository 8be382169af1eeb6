"""How long do commands take to start, and which of the large packages do they import?

    python bench/start.py [--rounds 5]

Every command runs in a process of its own, over an index with known answers that is written without a
network. The time is the median of the rounds, user and system time, in milliseconds; the packages are those
of torch, torchvision, timm, duckdb, pyarrow, numpy and pandas that are imported when the command has ended.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

LARGE = ("torch", "torchvision", "timm", "duckdb", "pyarrow", "numpy", "pandas")
REPORT = f"""
import atexit, sys
atexit.register(lambda: sys.stderr.write(
    "loaded:" + ",".join(name for name in {LARGE!r} if name in sys.modules) + "\\n"))
"""
COMMANDS = {
    "python, nothing else": "pass",
    "import maxact": "import maxact",
    "from maxact import open_index": "from maxact import open_index",
    "maxact --help": "--help",
    "maxact recipes": "recipes",
    "maxact top OUT stem 0": "top {out} stem 0",
    "maxact sql OUT 'SELECT 1'": "sql {out} 'SELECT 1'",
    "maxact render --help": "render --help",
    "maxact networks resnet": "networks resnet",
}


def code(words: str, out: Path) -> str:
    if words.startswith(("pass", "import", "from")):
        return REPORT + words
    given = ", ".join(map(repr, shlex.split(words.format(out=out))))
    return REPORT + f"import sys; sys.argv = ['maxact', {given}]; from maxact.__main__ import main; main()"


def milliseconds(words: str, out: Path) -> tuple[float, str]:
    environment = os.environ | {"PYTHONPATH": f"{os.getcwd()}:{os.getcwd()}/viz/public"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        [sys.executable, "-c", code(words, out)], capture_output=True, text=True, env=environment
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    loaded = ended.stderr.rpartition("loaded:")[2].strip()
    if ended.returncode:
        raise SystemExit(f"{words}: {ended.stderr}")
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return 1000 * spent, loaded.replace(",", ", ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from tests.fixtures.small_index import build_index

    with tempfile.TemporaryDirectory() as folder:
        out = build_index(Path(folder))
        print("| command | ms | imports |\n|---|---|---|")
        for name, words in COMMANDS.items():
            times, loaded = zip(*(milliseconds(words, out) for _ in range(rounds)), strict=True)
            print(f"| `{name}` | {statistics.median(times):.0f} | {loaded[0]} |")


if __name__ == "__main__":
    main()
