"""The examples, each run as its README says, on a few small pictures."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from pipeline.networks.network import load_network
from pipeline.vision_libraries import timm
from tests.fixtures.small_index import SHAPES, build_photographs
from tests.fixtures.tiny import write_tars

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Calls an example in an empty folder, and gives what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAXACT_CACHE", str(tmp_path / "cache"))

    def run(name: str, *arguments: str) -> str:
        runpy.run_path(str(EXAMPLES / name))["main"](arguments)
        return capsys.readouterr().out

    return run


def test_every_example_is_listed_and_tested() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")}
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert names == {*re.findall(r"\]\((\w+\.py)\)", listed)}
    tested = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{name}"' in tested for name in names)


def test_first_unit(run: Run, tmp_path: Path) -> None:
    build_photographs(tmp_path / "photos")
    small = (
        "--data",
        "photos",
        "--input",
        "size=64",
        "--layers",
        "blocks.2.1",
        "--layer",
        "blocks.2.1",
        "--unit",
        "9",
        "--steps",
        "4",
    )
    shown = run("first_unit.py", *small)
    assert any(shape in shown for shape in SHAPES)
    assert "images           48" in shown
    for path in re.findall(r"out/first-unit/\S+\.png", shown):
        with Image.open(tmp_path / path) as picture:
            assert picture.width >= 64
    again = run("first_unit.py", *small)
    assert again.split("The peaks")[1] == shown.split("The peaks")[1]


def test_vit_checkpoint(run: Run, tmp_path: Path) -> None:
    write_tars(tmp_path / "shards", [10, 8])
    torch.manual_seed(0)
    torch.save({"state_dict": timm().create_model("test_vit").state_dict()}, tmp_path / "checkpoint.pth")
    tiny = ("--architecture", "test_vit", "--weights", "checkpoint.pth", "--block", "2", "--neurons", "2")
    shown = run("vit_checkpoint.py", "shards/tiny-{000..001}.tar", *tiny, "--spotlight")
    assert len(re.findall(r"^neuron \d+: selectivity \d\.\d\d for [abc]$", shown, re.MULTILINE)) == 2
    shares = [
        int(share) for share in re.findall(r"head \d: (\d+)% of its attention on row \d, column \d", shown)
    ]
    assert len(shares) == 2
    assert all(0 < share <= 100 for share in shares)
    (sheet,) = re.findall(r"out/vit/\S+\.png", shown)
    assert (tmp_path / sheet).is_file()


def test_misclassified(run: Run, tmp_path: Path) -> None:
    build_photographs(tmp_path / "photos")
    module = load_network("efficientnet_lite0").module
    module.classifier = nn.Linear(module.classifier.in_features, len(SHAPES))
    torch.save(module.state_dict(), tmp_path / "six.pth")
    (tmp_path / "classes.txt").write_text("\n".join(SHAPES))
    (tmp_path / "six.py").write_text(
        "import timm\n"
        "def make():\n"
        f"    return timm.create_model('tf_efficientnet_lite0', num_classes={len(SHAPES)})\n"
    )
    layers = ("--layers", "blocks.6.0", "classifier")
    own = ("--network", "six.py:make", "--weights", "six.pth", "--class-names", "classes.txt")
    shown = run(
        "misclassified.py", "photos", *own, *layers, "--input", "size=64", "--images", "2", "--units", "2"
    )
    shapes = "|".join(SHAPES)
    taken = re.findall(rf"^\S+\.jpg: ({shapes}), taken for ({shapes}) \(\d+%\)$", shown, re.MULTILINE)
    assert len(taken) == 2
    assert all(label != predicted for label, predicted in taken)
    assert re.search(r"unit \d+ of blocks\.6\.0 pulls by \d+\.\d\d; it prefers \w+ and \w+", shown)
    (sheet,) = re.findall(r"out/misclassified/\S+\.png", shown)
    assert (tmp_path / sheet).is_file()


def test_labels_that_are_no_classes_are_named(run: Run, tmp_path: Path) -> None:
    build_photographs(tmp_path / "photos")
    with pytest.raises(SystemExit, match="no label is a class"):
        run(
            "misclassified.py",
            "photos",
            "--weights",
            "random",
            "--input",
            "size=32",
            "--layers",
            "classifier",
        )


@pytest.mark.parametrize("name", ["misclassified", "vit_checkpoint"])
def test_a_wrong_call_ends_with_one_line(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), str(tmp_path / "nothing.tar")]
    places = os.pathsep.join((str(EXAMPLES.parent), str(EXAMPLES.parent / "viz/public")))
    ended = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": places}, cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [f"error: {tmp_path / 'nothing.tar'} does not exist"]
    assert not list(tmp_path.iterdir())
