"""The rules of the source tree that a reader relies on, checked on the syntax trees."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(path for name in ("pipeline", "viz") for path in (ROOT / name).rglob("*.py"))
SPEAKING = {
    "pipeline/progress.py": "the reporter that the command line hands to the library",
    "pipeline/stream/compiled_probes.py": "looks for the compiler, CXX, that torch's inductor will look for",
}
"""Modules beside the command line that print or read the environment, and why."""

HEAVY = {"torch", "duckdb", "pyarrow", "numpy", "timm", "PIL"}


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of every import in a file, at the top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_relative(path)} imports relatively; write it in full"
            yield from ((node.module or "", alias.name) for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=_relative)
def test_viz_imports_pipeline_never_the_reverse(path: Path) -> None:
    imported = {module.partition(".")[0] for module, _ in _imports(path)}
    if _relative(path).startswith("pipeline/"):
        assert "viz" not in imported


@pytest.mark.parametrize("path", MODULES, ids=_relative)
def test_only_public_names_cross_a_module(path: Path) -> None:
    for module, name in _imports(path):
        if module.partition(".")[0] in ("pipeline", "viz"):
            assert not any(part.startswith("_") for part in (*module.split("."), name))


@pytest.mark.parametrize("path", MODULES, ids=_relative)
def test_only_the_command_line_prints_and_reads_the_environment(path: Path) -> None:
    if path.name.startswith("cli") or _relative(path) in SPEAKING:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{_relative(path)}:{node.lineno} prints"
        if isinstance(node, ast.Attribute):
            where = f"{_relative(path)}:{node.lineno} reads the environment"
            assert node.attr not in ("environ", "getenv"), where


@pytest.mark.parametrize("path", MODULES, ids=_relative)
def test_nothing_is_called_utils(path: Path) -> None:
    assert path.stem not in ("utils", "helpers", "common", "misc")


def test_the_command_line_starts_without_the_heavy_packages() -> None:
    code = "import sys, viz.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not HEAVY & set(run.stdout.split())


def test_asking_an_index_does_not_need_torch() -> None:
    code = "import sys, pipeline.query.index, pipeline.cli.output; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "torch" not in run.stdout.split()
