"""Ctrl-C and SIGTERM in real processes: exit code 130, one line, nothing half-written, and again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.config import RunConfig
from pipeline.runs.merge import merge_runs
from pipeline.runs.run import run_index
from tests.fixtures.runs import hashes
from tests.fixtures.small_index import build_index
from tests.fixtures.tiny import write_tars

ROOT = Path(__file__).resolve().parents[3]
LINE = "stopped; finished work is kept: run the same command again to continue"
TINY = ("--network", "tests.fixtures.tiny:factory", "--layers", "rectify", "--top", "4")
ENDLESS = "SELECT count(*) FROM range(1000000) a, range(1000000) b"

START = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
{before}
from viz.__main__ import main
main()
"""


def start(*words: object, before: str = "") -> subprocess.Popen[str]:
    """Start a command whose `before` runs first; it may write `ready` to standard output."""
    return subprocess.Popen(
        [sys.executable, "-c", START.format(before=before), *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stop_at(place: str, process: subprocess.Popen[str], number: signal.Signals) -> float:
    """Send a signal when the process says that it is at a place, and wait; seconds that it took."""
    assert process.stdout is not None
    assert process.stdout.readline() == f"{place}\n"
    time.sleep(0.2)
    started = time.monotonic()
    process.send_signal(number)
    process.wait(60)
    return time.monotonic() - started


def refuse_all_but_the_line(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stderr is not None
    error = process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    assert process.returncode == 130, error
    assert error.splitlines()[-1] == LINE
    assert error.count("stopped;") == 1
    assert "Traceback" not in error
    assert "error:" not in error


def announce(target: str, place: str = "here") -> str:
    """Code that says `here` when a function of a module is called, before it does its work."""
    module, _, name = target.rpartition(".")
    return (
        f"import functools, {module} as module\n"
        f"real = module.{name}\n"
        "@functools.wraps(real)\n"
        "def announced(*arguments, **named):\n"
        f"    print({place!r}, flush=True)\n"
        "    return real(*arguments, **named)\n"
        f"module.{name} = announced\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("extra", [(), ("--safe",)])
def test_sql_stops_at_once(number: signal.Signals, extra: tuple[str, ...], tmp_path: Path) -> None:
    out = build_index(tmp_path)
    before = (
        "from pipeline.query.index import Index\n"
        "real = Index.sql\n"
        "def sql(*arguments, **named):\n"
        "    print('here', flush=True)\n"
        "    return real(*arguments, **named)\n"
        "Index.sql = sql\n"
    )
    process = start("sql", out, ENDLESS, *extra, before=before)
    assert stop_at("here", process, number) < 10
    refuse_all_but_the_line(process)


@pytest.mark.slow
def test_a_time_limit_of_sql_is_an_error_of_one_line(tmp_path: Path) -> None:
    out = build_index(tmp_path)
    process = start("sql", out, ENDLESS, "--timeout", "0.5")
    output, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output == ""
    assert error == "error: the query was stopped after 0.5 seconds, its time limit (--timeout)\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    tars = write_tars(folder / "data", [5] * 4)
    for number, part in enumerate((tars[:2], tars[2:])):
        run_index(
            RunConfig(
                data=part,
                out=folder / f"run{number}",
                network="tests.fixtures.tiny:factory",
                layers=("rectify", "head"),
                top=4,
                compile="off",
                workers=1,
                shards_per_part=1,
                cache=folder / "cache",
            )
        )
    return folder / "run0", folder / "run1"


@pytest.mark.slow
@pytest.mark.parametrize(
    "target",
    [
        "pipeline.runs.merge.copy_part",
        "pipeline.runs.merge.write_index",
        "pipeline.runs.merge.finish_run",
    ],
)
def test_merge_stops_with_130_and_goes_on(target: str, runs: tuple[Path, Path], tmp_path: Path) -> None:
    slow = announce(target).replace("return real", "import time; time.sleep(1); return real")
    process = start("merge", tmp_path / "out", *runs, before=slow)
    assert stop_at("here", process, signal.SIGINT) < 20
    refuse_all_but_the_line(process)
    left = [path for path in (tmp_path / "out").rglob("*") if path.name.endswith((".tmp", ".spill"))]
    assert not left
    merge_runs(tmp_path / "out", runs)
    merge_runs(tmp_path / "whole", runs)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "target"),
    [
        (("check",), "pipeline.check.rerun.place_as_indexed"),
        (("sheets", "--layer", "rectify"), "viz.sheets.pages.gather_cells"),
        (("project", "--layer", "rectify", "--units", "0"), "viz.projections.page.choose_images"),
        (
            ("prior", "train", "--layer", "rectify", "--size", "16", "--steps", "9"),
            "viz.priors.training.choose_matched_layers",
        ),
        (("robust", "train", "--size", "32", "--steps", "9"), "viz.robust.training.feature_variances"),
    ],
)
def test_other_commands_stop_with_130(words: tuple[str, ...], target: str, runs: tuple[Path, Path]) -> None:
    name = words[:2] if "train" in words else words[:1]
    slow = announce(target).replace("return real", "import time; time.sleep(1); return real")
    process = start(*name, runs[0], *words[len(name) :], before=slow)
    assert stop_at("here", process, signal.SIGTERM) < 20
    refuse_all_but_the_line(process)
    assert not [path for path in runs[0].rglob("*") if path.name.endswith((".tmp", ".spill"))]


@pytest.mark.parametrize(
    "code",
    [
        "raise AttributeError('a half-loaded module')",
        "raise SystemExit(0)",
        "pass",
        "from pipeline.errors import StoreError; raise StoreError('not the reason')",
    ],
)
def test_what_a_library_makes_of_a_signal_changes_nothing(code: str) -> None:
    """An interruption in the middle of an import may become any error, or none."""
    before = (
        "import pipeline.query.named_queries as module\n"
        "def swallow():\n"
        "    import os\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        import time; time.sleep(5)\n"
        "    except KeyboardInterrupt:\n"
        "        pass\n"
        f"    {code}\n"
        "    return ()\n"
        "module.query_names = swallow\n"
    )
    process = start("queries", before=before)
    process.wait(60)
    refuse_all_but_the_line(process)


def test_a_signal_lost_in_a_finaliser_ends_the_work_at_its_next_step(tmp_path: Path) -> None:
    """Python prints and drops what a signal raises there."""
    tars, out = write_tars(tmp_path / "data", [8] * 4), tmp_path / "out"
    before = (
        "import os, pathlib\n"
        "from pipeline.stream.loop import Runner\n"
        "class Lost:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        sum(range(1000))\n"
        "lost, run = [Lost()], Runner.run\n"
        "def lose(self, *arguments):\n"
        "    run(self, *arguments)\n"
        f"    if list(pathlib.Path({str(out)!r}).glob('parts/*.json')):\n"
        "        lost.clear()\n"
        "Runner.run = lose\n"
    )
    options = (*TINY, "--compile", "off", "--workers", "1", "--shards-per-part", 1, "--batch-size", 4)
    process = start("index", *tars, "-o", out, *options, before=before)
    process.wait(60)
    refuse_all_but_the_line(process)
    assert 1 <= len(list(out.glob("parts/*.json"))) < 4


def test_a_signal_while_the_commands_are_imported(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)\n"
    )
    process = start("queries", before=f"sys.path.insert(0, {str(tmp_path)!r})")
    process.wait(60)
    refuse_all_but_the_line(process)
