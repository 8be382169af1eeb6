"""Datasets that torchvision downloads and unpacks as class folders, by name.

`torchvision:imagenette` is the training split of Imagenette, `torchvision:imagenette:val` the
other one. The archive is fetched and unpacked beside its final place and renamed when it is whole,
so an interrupted download is never taken for a dataset.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import SourceError, did_you_mean

__all__ = ["FOLDERS", "PREFIX", "Folder", "fetch"]

PREFIX = "torchvision:"
"""What the name of such a dataset starts with."""


@dataclass(frozen=True, slots=True)
class Folder:
    """How a torchvision dataset lies on disk.

    Args:
        name: of its class in `torchvision.datasets`.
        options: for its constructor.
        splits: the splits it has, the default first.
        path: its class folders, below the root; `{split}` stands for the split.
    """

    name: str
    options: dict[str, str]
    splits: tuple[str, ...]
    path: str


FOLDERS = {
    "imagenette": Folder("Imagenette", {"size": "full"}, ("train", "val"), "imagenette2/{split}"),
    "imagenette-320px": Folder("Imagenette", {"size": "320px"}, ("train", "val"), "imagenette2-320/{split}"),
    "imagenette-160px": Folder("Imagenette", {"size": "160px"}, ("train", "val"), "imagenette2-160/{split}"),
    "eurosat": Folder("EuroSAT", {}, ("all",), "eurosat/2750"),
}
"""The datasets known by name; any other one is a folder to be named by its path."""


def fetch(name: str, cache: Path) -> Path:
    """The class folders of a dataset, downloaded the first time.

    Args:
        name: `torchvision:NAME` or `torchvision:NAME:SPLIT`.
        cache: where downloads are kept.

    Raises:
        SourceError: for an unknown name or split, or when the download fails.
    """
    short, _, split = name.removeprefix(PREFIX).partition(":")
    if short not in FOLDERS:
        hint = did_you_mean(short, FOLDERS)
        raise SourceError(
            f"no torchvision dataset {short!r} that lies in class folders{hint} (known: {', '.join(FOLDERS)})"
        )
    folder = FOLDERS[short]
    split = split or folder.splits[0]
    if split not in folder.splits:
        raise SourceError(f"{short} has no split {split!r}, only {', '.join(folder.splits)}")
    final = cache / "torchvision" / short
    if not final.exists():
        _download(folder, split, final)
    return final / folder.path.format(split=split)


def _download(folder: Folder, split: str, final: Path) -> None:
    from pipeline.vision_libraries import torchvision

    options: dict[str, Any] = dict(folder.options)
    if len(folder.splits) > 1:
        options["split"] = split
    torchvision()
    from torchvision import datasets

    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
        try:
            getattr(datasets, folder.name)(str(building), download=True, **options)
            for archive in (*building.glob("*.tgz"), *building.glob("*/*.zip")):
                archive.unlink()
            building.chmod(0o755)
            os.rename(building, final)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except (OSError, RuntimeError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise SourceError(
            f"{folder.name} could not be downloaded: {error}; download it elsewhere, unpack it and "
            "give the path of its class folders"
        ) from error
