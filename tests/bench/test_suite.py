"""bench: every benchmark is in the suite, its words are accepted, and results are written as they come."""

from __future__ import annotations

import argparse
import importlib
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bench.__main__ as program
from bench.suite import NOT_BENCHMARKS, SUITE, Benchmark

BENCH = Path(program.__file__).parent
GUARD = 'if __name__ == "__main__":'


def runnable() -> set[str]:
    """Scripts and packages of bench/ that can be run by themselves."""
    scripts = {path.stem for path in BENCH.glob("[!_]*.py") if GUARD in path.read_text()}
    return scripts | {path.parent.name for path in BENCH.glob("*/__main__.py")}


def target(benchmark: Benchmark) -> tuple[str, list[str]]:
    """Name of the script or package in bench/, and the options that it is given."""
    first, *rest = shlex.split(benchmark.words)
    if first == "-m":
        return rest[0].removeprefix("bench."), rest[1:]
    assert first.startswith("bench/")
    return Path(first).stem, rest


def test_every_script_is_in_the_suite() -> None:
    assert {target(benchmark)[0] for benchmark in SUITE} == runnable() - NOT_BENCHMARKS
    assert runnable() >= NOT_BENCHMARKS


def test_names_and_questions_are_unique() -> None:
    assert len({benchmark.name for benchmark in SUITE}) == len(SUITE)
    assert len({benchmark.question for benchmark in SUITE}) == len(SUITE)


class Parsed(Exception):
    """A script has parsed its options."""


@pytest.mark.parametrize("benchmark", SUITE, ids=lambda benchmark: benchmark.name)
def test_options_are_accepted(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    name, given = target(benchmark)
    folder = (BENCH / name).is_dir()
    assert folder or (BENCH / f"{name}.py").is_file()
    module = importlib.import_module(f"bench.{name}.__main__" if folder else f"bench.{name}")
    parse = argparse.ArgumentParser.parse_args

    def parse_only(parser: argparse.ArgumentParser, *args: Any, **options: Any) -> None:
        parse(parser, *args, **options)
        raise Parsed

    if name == "imports":  # takes a checkout, and no options
        assert not given
        return
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    monkeypatch.setattr(sys, "argv", [name, *given])
    with pytest.raises(Parsed):
        module.main()


def test_the_file_is_written_after_every_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = list(SUITE[:3])
    out = tmp_path / "RESULTS.md"
    seen = []

    def ran(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        seen.append(out.read_text().count("\n## ") if out.exists() else 0)
        failed = len(seen) == 2
        return subprocess.CompletedProcess(command, int(failed), "| a |\n|---|", "no\nbelow 0.9" * failed)

    monkeypatch.setattr(subprocess, "run", ran)
    assert not program.run_all(chosen, "python", out)
    assert seen == [0, 1, 2]
    text = out.read_text()
    assert [text.index(f"## {benchmark.question}") for benchmark in chosen] == sorted(
        text.index(f"## {benchmark.question}") for benchmark in chosen
    )
    assert "**failed** with exit code 1: below 0.9" in text
    said = capsys.readouterr().err
    assert f"2 of 3: {chosen[1].name} (0 minutes so far, about 2 more)" in said
    assert f"failed: {chosen[1].name}" in said


def test_other_sections_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = SUITE[:2]
    out = tmp_path / "RESULTS.md"
    sections = {each.question: f"## {each.question}\n\nold\n" for each in (first, second)}
    program.write(out, sections)
    assert program.earlier(out) == sections
    monkeypatch.setattr(program, "run", lambda benchmark, python: (f"## {benchmark.question}\n\nnew\n", True))
    assert program.run_all([second], "python", out)
    assert program.earlier(out) == sections | {second.question: f"## {second.question}\n\nnew\n"}


@pytest.mark.parametrize(
    ("section", "minutes"),
    [
        ("## a\n\n2.5 minutes on 2026-01-02; the load of the machine was 1.0 when it began.\n", 2.5),
        ("## a\n\n0.4 minutes; the load of the machine was 1.0 when it began.\n", 0.4),
        ("", 1.0),
    ],
)
def test_minutes_are_read_from_the_run_before(section: str, minutes: float) -> None:
    assert program.expected_minutes(section) == minutes
