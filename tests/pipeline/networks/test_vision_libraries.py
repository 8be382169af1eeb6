"""Libraries are prepared once, also by several threads at a time."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import vision_libraries
from pipeline.encoders.load import load_encoder
from pipeline.errors import EncoderError, NetworkError

ROOT = Path(__file__).resolve().parents[3]

CODE = """
import threading
from concurrent.futures import ThreadPoolExecutor
from pipeline import vision_libraries

start = threading.Barrier(8)

def load(_):
    start.wait()
    return vision_libraries.torchvision()

with ThreadPoolExecutor(8) as pool:
    assert len({id(each) for each in pool.map(load, range(8))}) == 1
"""


@pytest.mark.slow
def test_eight_threads_that_load_torchvision_at_once_get_the_same_module() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("library", "package"),
    [
        ("torchvision", "torchvision"),
        ("timm", "timm"),
        ("transformers", "'maxact[hf]'"),
        ("open_clip", "'maxact[clip]'"),
    ],
)
def test_a_library_that_is_not_installed_is_named(
    library: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == library else find(name))
    if library == "torchvision":
        monkeypatch.setattr(
            vision_libraries, "prepare_torchvision", vision_libraries.prepare_torchvision.__wrapped__
        )
    said = re.escape(f"{library} is not installed; run `pip install {package}`")
    with pytest.raises(NetworkError, match=said):
        getattr(vision_libraries, library).__wrapped__()


@pytest.mark.parametrize(("module", "name"), [("huggingface", "hf:a/b"), ("open_clip", "open_clip:a/b")])
def test_an_encoder_of_a_library_that_is_not_installed_is_named(
    module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise NetworkError("it is not installed; run `pip install it`")

    library = "transformers" if module == "huggingface" else module
    monkeypatch.setattr(f"pipeline.encoders.{module}.{library}", missing)
    with pytest.raises(EncoderError, match="it is not installed; run `pip install it`"):
        load_encoder(name)
