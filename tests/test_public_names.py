"""`import maxact`: complete, cheap, the same objects as the modules have, and refused under a shadow."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import maxact
import pipeline
import viz
import viz.objectives
from pipeline.lazy import read_stub

ROOT = Path(__file__).resolve().parent.parent
PATHS = os.pathsep.join((str(ROOT), str(ROOT / "viz/public")))
HEAVY = {"torch", "numpy", "duckdb", "pyarrow", "PIL", "typer"}
PROMISED = {
    *("open_index", "run_index", "check_index", "merge_runs", "open_dataset", "load_network"),
    *("Network", "Preprocess", "Layer", "choose_layers", "objectives", "get_recipe", "RECIPES"),
    *("render_index", "render_units", "draw_sheets", "build_atlas", "RunConfig"),
    *("dissect_index", "EngineConfig"),
    *("explain_photographs", "find_directions", "name_in_words", "name_index"),
    *("ConsoleReporter", "Silent", "Reporter", "MaxactError", "errors"),
}


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Python in a folder that comes first on its path, as for a user's script there."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), PATHS))}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_the_names_that_are_promised() -> None:
    assert set(maxact.__all__) == PROMISED
    assert dir(maxact) == sorted({*PROMISED, "__version__"})
    assert all(getattr(maxact, name) is not None for name in dir(maxact))
    assert {"point", "channel", "direction", "logit"} <= set(maxact.objectives.__all__)


@pytest.mark.parametrize("package", [pipeline, viz, viz.objectives, maxact])
def test_what_is_given_out_is_what_a_type_checker_sees(package) -> None:
    places = read_stub(Path(package.__file__).with_name("__init__.pyi"))
    assert sorted(package.__all__) == sorted(name for name in places if name != "__version__")
    for name, (module, original) in places.items():
        assert getattr(package, name) is getattr(importlib.import_module(module), original)


def test_no_name_is_listed_twice() -> None:
    assert not set(pipeline.__all__) & set(viz.__all__)


@pytest.mark.parametrize("package", [pipeline, viz, maxact])
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
        ("import maxact", HEAVY),
        ("from pipeline import ConsoleReporter, MaxactError", HEAVY),
        ("from maxact import ConsoleReporter, MaxactError, RunConfig, errors", HEAVY),
        ("from pipeline import open_index", {"torch"}),
        ("from maxact import open_index", {"torch"}),
        ("from viz import get_recipe, RECIPES", {"torch", "duckdb", "pyarrow"}),
        ("from maxact import get_recipe, RECIPES", {"torch", "duckdb", "pyarrow"}),
    ],
)
def test_an_import_brings_no_more_than_it_needs(line: str, absent: set[str], tmp_path: Path) -> None:
    result = run(f"{line}; import sys; print(*sys.modules)", tmp_path)
    assert result.returncode == 0, result.stderr
    assert not absent & set(result.stdout.split())


@pytest.mark.parametrize("name", ["pipeline", "viz"])
@pytest.mark.parametrize("file", ["{}.py", "{}/__init__.py"])
def test_a_module_of_the_users_in_front_of_ours_is_named(name: str, file: str, tmp_path: Path) -> None:
    shadow = tmp_path / file.format(name)
    shadow.parent.mkdir(exist_ok=True)
    shadow.write_text("print('never run')")
    result = run("import maxact", tmp_path)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: maxact needs its own package `{name}`, but Python finds {shadow}")
    assert "rename it" in last
    assert result.stdout == ""


def test_a_folder_of_the_users_that_is_no_package_is_no_harm(tmp_path: Path) -> None:
    (tmp_path / "pipeline").mkdir()
    assert run("import maxact; maxact.errors", tmp_path).returncode == 0


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="`pipeline`, which is missing; install maxact again"):
        importlib.reload(maxact)
    monkeypatch.undo()
    importlib.reload(maxact)
