"""A user's factory that fails: theirs in short, with file, line and function, on one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.errors import NetworkError, RenderError, RenderingFailed, UnknownNetwork
from pipeline.networks.network import load_network
from viz.cli import app
from viz.priors.prior import load_prior

CODE = """\
import sys
import torch

def helper():
    raise ValueError("no checkpoint at\\n  /data/best.pth")

def make():
    return helper()

def leaves():
    sys.exit("bye")

def stops():
    raise KeyboardInterrupt

def silent():
    raise AssertionError

def in_torch():
    return torch.nn.Linear(2, 2)(torch.zeros(3))

def long():
    raise RuntimeError("x" * 5000)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_net.py").write_text(CODE)
    (tmp_path / "broken.py").write_text("def make(:\n")
    (tmp_path / "needs.py").write_text("import torch\nimport no_such_library\n")
    (tmp_path / "exits.py").write_text("raise SystemExit(0)\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "my_net.py:make",
            "my_net.py:5: in helper: ValueError: no checkpoint at /data/best.pth (",
        ),
        ("my_net.py:leaves", "my_net.py:11: in leaves: SystemExit: bye ("),
        ("my_net.py:silent", "my_net.py:17: in silent: AssertionError ("),
        ("my_net.py:in_torch", "my_net.py:20: in in_torch: RuntimeError: "),
        ("my_net.py:long", "xxx... (network factory my_net.py:long)"),
        ("broken.py:make", "broken.py:1: SyntaxError: "),
        ("needs.py:make", "needs.py:2: ModuleNotFoundError: No module named 'no_such_library' ("),
        ("exits.py:make", "exits.py:1: SystemExit: 0 ("),
    ],
)
def test_what_a_factory_raises_is_one_line_with_its_place(folder: Path, name: str, said: str) -> None:
    result = CliRunner().invoke(app, ["layers", name])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert len(line) < 500
    with pytest.raises(NetworkError) as raised:
        load_network(name, weights="random")
    assert not isinstance(raised.value, UnknownNetwork)
    with pytest.raises(RenderingFailed) as failed:
        load_prior(name)
    assert said.partition(" (network")[0].partition("network factory")[0] in str(failed.value)


@pytest.mark.parametrize(
    "name",
    ["nowhere.py:make", "no_such_module:make", "a..b:make", ":make", "my_net.py:nothing", "x" * 5000 + ":m"],
)
def test_a_factory_that_does_not_exist_is_a_wrong_call(folder: Path, name: str) -> None:
    result = CliRunner().invoke(app, ["layers", name])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    with pytest.raises(UnknownNetwork):
        load_network(name, weights="random")
    with pytest.raises(RenderError) as raised:
        load_prior(name)
    assert raised.value.exit_code == 2


def test_an_interruption_is_no_failure_of_the_factory(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_network("my_net.py:stops", weights="random")
    result = CliRunner().invoke(app, ["layers", "my_net.py:stops"])
    assert result.exit_code == 130


def test_a_module_found_by_name_is_described_alike(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "my_unique_net.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(folder))
    try:
        with pytest.raises(NetworkError, match=r"^my_unique_net\.py:5: in helper: ValueError: no check"):
            load_network("my_unique_net:make", weights="random")
    finally:
        sys.modules.pop("my_unique_net", None)


def test_a_path_that_no_file_can_have_is_a_wrong_call() -> None:
    for place in ("n" * 5000 + ".py", "a\0b.py"):
        with pytest.raises(UnknownNetwork, match="there is no Python file"):
            load_network(f"{place}:make")
