"""Libraries are prepared once, also by several threads at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
