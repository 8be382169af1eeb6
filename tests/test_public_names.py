"""The short imports of the README: complete, cheap, the same objects as the long ones."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline
import viz

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "numpy", "duckdb", "pyarrow", "PIL", "typer"}


def typed(package: str) -> dict[str, str]:
    """Where each public name comes from, as a type checker reads it."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    (branch,) = [node for node in tree.body if isinstance(node, ast.If)]
    return {
        alias.name: str(node.module)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("package", [pipeline, viz])
def test_what_is_given_out_is_what_a_type_checker_sees(package) -> None:
    places = typed(package.__name__)
    assert sorted(package.__all__) == sorted(places)
    for name, module in places.items():
        assert getattr(package, name) is getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("package", [pipeline, viz])
def test_other_names_are_not_there(package) -> None:
    with pytest.raises(AttributeError, match=f"'{package.__name__}' has no attribute 'rnu_index'"):
        package.rnu_index  # noqa: B018
    with pytest.raises(ImportError):
        exec(f"from {package.__name__} import rnu_index")


@pytest.mark.parametrize(
    ("line", "absent"),
    [
        ("import pipeline", HEAVY),
        ("import viz", HEAVY),
        ("from pipeline import ConsoleReporter, MaxactError", HEAVY),
        ("from pipeline import open_index", {"torch"}),
        ("from viz import get_recipe, RECIPES", {"torch", "duckdb", "pyarrow"}),
    ],
)
def test_an_import_brings_no_more_than_it_needs(line: str, absent: set[str]) -> None:
    code = f"{line}; import sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not absent & set(run.stdout.split())
