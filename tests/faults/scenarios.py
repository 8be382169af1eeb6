"""A folder with a small dataset and a network, and the states of OUT in which commands are disturbed."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.store.seals import SEALED_FIELD, seal_json
from tests.faults.harness import Harness, Run
from tests.faults.snapshot import differences, snapshot

__all__ = ["COMMANDS", "PAIRED", "STATES", "Lab", "starts"]

NETWORK = """
import torch
from torch import nn
from pipeline.images.preprocess import Preprocess


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 3, 3, stride=2)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def factory():
    module = Small()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randint(-1, 2, parameter.shape, generator=generator).float())
    return module, Preprocess(16, 16, 16, mean=(128.0,) * 3, std=(1.0,) * 3)
"""
"""Integer weights: activations are exact and often equal."""

ENCODER = """
import numpy as np


class Small:
    fingerprint = "small"

    def embed_images(self, images):
        return np.stack([np.asarray(image.resize((2, 2)), float).ravel() + 1 for image in images])

    def embed_texts(self, texts):
        return np.array([[1 + (len(text) * place) % 7 for place in range(12)] for text in texts], float)


make = Small
"""

SHARDS = (7, 6, 8, 5)
"""Images in each archive of the dataset; `study` needs 21 of them."""

HALF = 2
"""Archives in each of the two runs that are merged."""

RUN = (
    "--network net.py:factory --layers first --layers second --top 16 --compile off --threads 1 "
    "--workers 1 --shards-per-part 1 --device cpu"
)

COMMANDS: Mapping[str, str] = {
    "index": f"index data -o out {RUN}",
    "fresh": f"index data -o out {RUN} --fresh",
    "peaks": f"index data -o out {RUN} --keep peaks",
    "merge": "merge out first-half second-half",
    "render": "render out --layer second --units 0-1 --recipe fourier --steps 3 --batch 1 --device cpu",
    "sheets": "sheets out --layer first --units 0 --pdf",
    "project": "project out --layer second --units 0-1 --method gradient --top 1",
    "prior": "prior train out --layer second --size 16 --steps 2 --batch 4 --device cpu",
    "robust": "robust train out --size 32 --steps 2 --batch 2 --device cpu",
    "atlas": "atlas out --layer first --units 0 --network net.py:factory",
    "study": "study out --layer first --units 0 --reference real --network net.py:factory --out cache/study",
    "check": "check out",
    "repair": "repair out",
    "name": "name out",
    "dissect": "dissect out --masks masks --device cpu",
    "words": "name out --encoder encoder.py:make --vocabulary words.txt --layer first --batch-size 8",
    "top": "top out second 1",
}
"""Command lines after `maxact`, by name; those that write the index first."""

STATES: Mapping[str, tuple[str, ...]] = {
    "empty": ("index", "merge", "peaks"),
    "partial": ("index", "fresh", "merge", "render"),
    "complete": tuple(name for name in COMMANDS if name != "peaks"),
    "damaged": ("index", "repair"),
}
"""What OUT holds before, and the commands that are disturbed then: nothing; a run that was stopped after
half of its shards; a finished index with renderings of its first layer; the same with a table cut short."""

PAIRED: Mapping[str, tuple[str, ...]] = {
    "complete": ("fresh", "index", "merge", "render", "sheets", "project", "prior", "check"),
    "partial": ("index", "merge", "render"),
    "empty": ("index", "merge"),
    "damaged": ("index", "repair"),
}
"""The commands of which every pair is run at once. Those that write the index come first, so that running
both again, one after the other, always leaves the same."""


def starts() -> list[tuple[str, str]]:
    """All (state, command)."""
    return [(state, command) for state, commands in STATES.items() for command in commands]


class Lab:
    """A folder in which commands are disturbed, and copies of OUT to start from.

    Args:
        folder: empty; for everything.
        harness: that runs commands.
    """

    def __init__(self, folder: Path, harness: Harness) -> None:
        self.folder, self.harness = folder, harness
        self.here = folder / "here"
        self.out = self.here / "out"
        self._count = 0
        data = self.here / "data"
        data.mkdir(parents=True)
        _write_dataset(data)
        _write_masks(self.here / "masks")
        (self.here / "net.py").write_text(NETWORK)
        (self.here / "encoder.py").write_text(ENCODER)
        (self.here / "words.txt").write_text("bright\ndark\ngrey\nof one colour\n")
        for name, chosen in (("first-half", "{000..001}"), ("second-half", "{002..003}")):
            self._prepare(f"index data/{chosen}.tar -o {name} {RUN}")
        (folder / "empty").mkdir()
        self._prepare(COMMANDS["index"])
        shutil.copytree(self.out, folder / "partial")
        _make_partial(folder / "partial")
        self._prepare(COMMANDS["render"].replace("second", "first"))
        shutil.copytree(self.out, folder / "damaged")
        os.truncate(folder / "damaged" / "top.parquet", 1000)
        self.out.rename(folder / "complete")
        self._inputs = self._snapshot_inputs()

    def reset(self, state: str) -> None:
        """Give OUT the content of a state, and empty the cache."""
        for folder in (self.out, self.here / "cache"):
            if folder.exists():
                shutil.rmtree(folder)
        if state != "empty":
            shutil.copytree(self.folder / state, self.out)

    def changed_inputs(self) -> list[str]:
        """A line about each file outside OUT that was changed; it is restored by no one."""
        return differences(self._snapshot_inputs(), self._inputs)

    def keep(self, name: str) -> Path:
        """Copy OUT, to look at it."""
        self._count += 1
        kept = self.folder / f"kept-{name}-{self._count}"
        return Path(shutil.copytree(self.out, kept)) if self.out.exists() else self.here

    def run(self, words: str) -> Run:
        """Run a command without a fault."""
        return self.harness.run(words.split(), root=self.here)

    def _snapshot_inputs(self) -> dict[str, str]:
        files = snapshot(self.here).items()
        return {name: digest for name, digest in files if not name.startswith(("out/", "cache/"))}

    def _prepare(self, words: str) -> None:
        run = self.run(words)
        if run.code:
            raise RuntimeError(f"maxact {words}: {run.stderr}")


def _write_dataset(folder: Path) -> None:
    """Archives `000.tar` and so on, of blocks of random colour with labels `a`, `b`, `c`."""
    number = 0
    for shard, size in enumerate(SHARDS):
        with tarfile.open(folder / f"{shard:03}.tar", "w") as archive:
            for _ in range(size):
                blocks = np.random.default_rng(number).integers(118, 139, (5, 5, 3), dtype=np.uint8)
                stream = io.BytesIO()
                Image.fromarray(np.kron(blocks, np.ones((4, 4, 1), np.uint8))).save(stream, "PNG")
                for suffix, content in (("png", stream.getvalue()), ("cls", b"abc"[number % 3 :][:1])):
                    member = tarfile.TarInfo(f"{number:03}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
                number += 1


def _write_masks(folder: Path) -> None:
    """A mask of two concepts for every image."""
    folder.mkdir()
    (folder / "names.csv").write_text("1,left\n2,right\n")
    values = np.repeat(np.array([[1, 2]], np.uint8), 20, axis=0).repeat(10, axis=1)
    for number in range(sum(SHARDS)):
        Image.fromarray(values).save(folder / f"{number:03}.png")


def _make_partial(out: Path) -> None:
    """Leave what a run has written that was stopped after half of its shards."""
    run = json.loads((out / "run.json").read_text())
    del run[SEALED_FIELD]
    run |= {"status": "incomplete", "counts": {}, "timings": {}, "tables": {}, "parts": []}
    (out / "run.json").write_text(seal_json(run))
    for table in out.glob("*.parquet"):
        table.unlink()
    for commit in sorted(out.glob("parts/*.json"))[HALF:]:
        commit.unlink()
        shutil.rmtree(commit.with_suffix(""))
