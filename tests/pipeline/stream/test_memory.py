"""Memory that is kept is not fetched again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from pipeline.stream.memory import keep_memory

PROGRAM = """
import resource
import torch
from pipeline.stream.memory import keep_memory

network = torch.nn.Sequential(
    torch.nn.Conv2d(3, 64, 3), torch.nn.ReLU(), torch.nn.Conv2d(64, 32, 3), torch.nn.ReLU()
)
batch = torch.zeros(8, 3, 192, 192)

def faults():
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        with torch.inference_mode():
            network(batch)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

fresh = faults()
assert keep_memory()
print(fresh, faults())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_a_second_batch_finds_the_memory_of_the_first() -> None:
    """In a process of its own, whose allocator nobody has set before."""
    found = subprocess.run([sys.executable, "-c", PROGRAM], check=True, stdout=subprocess.PIPE, text=True)
    fresh, kept = (int(number) for number in found.stdout.split())
    assert kept < fresh / 10


def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_memory()
