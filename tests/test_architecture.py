"""The rules of the source tree that a reader relies on, checked on the syntax trees."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.imports import circles, folder_graph, module_graph

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(path for name in ("pipeline", "viz") for path in (ROOT / name).rglob("*.py"))
SPEAKING = {
    "pipeline/progress.py": "the reporter that the command line hands to the library",
    "pipeline/engines/ray_cluster.py": "looks for RAY_ADDRESS, turns off Ray's reports of usage",
    "pipeline/stream/compiled_probes.py": "looks for the compiler, CXX, that torch's inductor will look for",
}
"""Modules beside the command line that print or read the environment, and why."""

ORDER = {
    "pipeline": (
        ("cli",),
        ("check",),
        ("runs",),
        ("directions", "dissection", "engines", "explain"),
        ("indexed_pass",),
        ("naming", "query", "stream"),
        ("encoders", "layers", "remote", "state"),
        ("networks", "data"),
        ("images", "store", "config", "devices", "progress_json"),
        ("assignments", "choices", "image_id", "lazy", "progress", "version", "vision_libraries"),
        ("errors", "progress_bar", "progress_notebook"),
        ("file_names", "visible", "working_copies"),
    ),
    "viz": (
        ("public",),
        ("cli",),
        ("server",),
        ("atlas", "notebook", "projections", "study"),
        ("sheets",),
        ("render",),
        ("paths", "recipes"),
        ("inputs",),
        ("ascent",),
        ("planning", "priors", "robust"),
        ("passes", "training"),
        ("canvas", "choices", "objectives", "pixels", "seeds", "tensor_files"),
    ),
}
"""Folders, and modules that lie in the package itself, from top to bottom: each imports only from
lower floors. ARCHITECTURE.md prints the same order."""

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


@pytest.mark.parametrize("package", ORDER)
def test_a_folder_imports_only_from_folders_below_it(package: str) -> None:
    floors = {name: floor for floor, names in enumerate(ORDER[package]) for name in names}
    folders = folder_graph(ROOT, module_graph(ROOT, package))
    assert {name.partition(".")[2] for name in folders} == {*floors, "__main__"}
    for folder, imported in folders.edges:
        upper, lower = (name.partition(".")[2] for name in (folder, imported))
        assert upper == "__main__" or floors[upper] < floors[lower], f"{upper} imports {lower}"


@pytest.mark.parametrize("package", ORDER)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    assert circles(module_graph(ROOT, package)) == []


def test_circles_are_found(tmp_path: Path) -> None:
    (tmp_path / "viz").mkdir()
    for name, text in (("a", "import viz.b"), ("b", "def f(): from viz import a"), ("c", "import viz.a")):
        (tmp_path / "viz" / f"{name}.py").write_text(text)
    assert circles(module_graph(tmp_path, "viz")) == [["viz.a", "viz.b"]]


@pytest.mark.parametrize("package", ORDER)
def test_the_document_prints_the_same_order(package: str) -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    printed = re.findall(rf"^\| `{package}/(\w+)(?:/|\.py)` \|", text, flags=re.MULTILINE)
    assert printed == [name for names in ORDER[package] for name in names]


@pytest.mark.parametrize("package", ORDER)
def test_every_folder_says_which_others_it_imports(package: str) -> None:
    folders = folder_graph(ROOT, module_graph(ROOT, package))
    for folder in folders:
        path = ROOT / folder.replace(".", "/") / "__init__.py"
        if path.exists():
            text = path.read_text(encoding="utf-8")
            (said,) = re.findall(r"^Imports: ([^.]+)\.$", text, flags=re.MULTILINE)
            there = sorted(name.partition(".")[2] for name in folders.successors(folder))
            assert re.split(r",\s+", said) == (there or ["nothing"]), folder


@pytest.mark.parametrize("path", MODULES, ids=_relative)
def test_only_public_names_cross_a_module(path: Path) -> None:
    for module, name in _imports(path):
        if module.partition(".")[0] in ("pipeline", "viz"):
            assert not any(part.startswith("_") for part in (*module.split("."), name))


@pytest.mark.parametrize("path", MODULES, ids=_relative)
def test_only_the_command_line_prints_and_reads_the_environment(path: Path) -> None:
    if _relative(path).startswith(("pipeline/cli/", "viz/cli/")) or _relative(path) in SPEAKING:
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
