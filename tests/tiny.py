"""A seeded three-layer network with whole-number activations, and small datasets to show it.

Whole numbers stay exact in float32, whatever the batch size or the order of additions, so results
can be compared bit for bit; the ReLU6 makes ties common.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.images.preprocess import Preprocess
from pipeline.networks.network import Network

SIDE = 16
PREPROCESS = Preprocess(SIDE, SIDE, SIDE, mean=(128.0,) * 3, std=(1.0,) * 3)
LAYERS = ("first", "second", "negative", "head")


class Tiny(nn.Module):
    """Two convolutions with in-place ReLUs, a layer that is never positive, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.relu = nn.ReLU6(inplace=True)
        self.second = nn.Conv2d(5, 4, 3, stride=2)
        self.rectify = nn.ReLU(inplace=True)
        self.negative = Negative()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        x = self.rectify(self.second(x))
        self.negative(x)
        return self.head(x.amax((2, 3)))


class Negative(nn.Module):
    """A layer all of whose activations lie below zero."""

    def forward(self, x: Tensor) -> Tensor:
        return -1 - x


def tiny_network(seed: int = 0) -> Network:
    module = Tiny()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            drawn = torch.randint(-1, 2, parameter.shape, generator=generator)
            parameter.copy_(drawn.float())
    return Network.from_module(module, PREPROCESS, name="tiny")


def picture(seed: int, side: int = 20) -> bytes:
    """A PNG of coarse random blocks."""
    blocks = np.random.default_rng(seed).integers(118, 139, (5, 5, 3), dtype=np.uint8)
    pixels = np.kron(blocks, np.ones((side // 5, side // 5, 1), np.uint8))
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write_tars(folder: Path, sizes: list[int], *, seed: int = 0) -> list[Path]:
    """Tar shards of pictures with labels `a`, `b`, `c`; image n of all is `picture(seed + n)`."""
    folder.mkdir(parents=True, exist_ok=True)
    number, paths = 0, []
    for shard, size in enumerate(sizes):
        path = folder / f"tiny-{shard:03}.tar"
        with tarfile.open(path, "w") as archive:
            for _ in range(size):
                for suffix, data in (
                    ("png", picture(seed + number)),
                    ("cls", "abc"[number % 3].encode()),
                ):
                    member = tarfile.TarInfo(f"{number:05}.{suffix}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
                number += 1
        paths.append(path)
    return paths


def factory() -> tuple[nn.Module, Preprocess]:
    """For `--network tests.tiny:factory`."""
    return tiny_network().module, PREPROCESS
