"""Datasets that torchvision downloads and unpacks as class folders, by name.

`torchvision:imagenette` is the training split of Imagenette, `torchvision:imagenette:val` the
validation split. The archive is downloaded and unpacked in a temporary folder that is renamed when
it is complete, so that an interrupted download is never mistaken for a dataset.
"""

from __future__ import annotations

import os
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.staging import staging_folder
from pipeline.errors import MissingSource, SourceError, did_you_mean

__all__ = ["DATASETS", "PREFIX", "ClassFolders", "download_dataset"]

PREFIX = "torchvision:"
"""Prefix of the names of these datasets."""


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """Where torchvision unpacks a dataset.

    Args:
        name: of its class in `torchvision.datasets`.
        options: arguments of the constructor.
        splits: available splits, the default first.
        path: of its class folders, relative to the root; `{split}` is replaced by the split.
    """

    name: str
    options: dict[str, str]
    splits: tuple[str, ...]
    path: str


DATASETS = {
    "imagenette": ClassFolders("Imagenette", {"size": "full"}, ("train", "val"), "imagenette2/{split}"),
    "imagenette-320px": ClassFolders(
        "Imagenette", {"size": "320px"}, ("train", "val"), "imagenette2-320/{split}"
    ),
    "imagenette-160px": ClassFolders(
        "Imagenette", {"size": "160px"}, ("train", "val"), "imagenette2-160/{split}"
    ),
    "eurosat": ClassFolders("EuroSAT", {}, ("all",), "eurosat/2750"),
}
"""Datasets available by name; open any other dataset by the path of its folder."""


def download_dataset(name: str, cache: Path) -> Path:
    """Download a dataset, unless it is in the cache.

    Args:
        name: `torchvision:NAME` or `torchvision:NAME:SPLIT`.
        cache: folder of downloads.

    Returns:
        The folder that contains its class folders.

    Raises:
        SourceError: for an unknown name or split, or if the download fails.
    """
    short, _, split = name.removeprefix(PREFIX).partition(":")
    if short not in DATASETS:
        hint = did_you_mean(short, DATASETS)
        raise MissingSource(f"unknown torchvision dataset {short!r}{hint} (available: {', '.join(DATASETS)})")
    folder = DATASETS[short]
    split = split or folder.splits[0]
    if split not in folder.splits:
        raise MissingSource(f"{short} has no split {split!r} (available: {', '.join(folder.splits)})")
    final = cache / "torchvision" / short
    if not final.exists():
        _download(folder, split, final)
    return final / folder.path.format(split=split)


def _download(folder: ClassFolders, split: str, final: Path) -> None:
    from pipeline.vision_libraries import torchvision

    options: dict[str, Any] = dict(folder.options)
    if len(folder.splits) > 1:
        options["split"] = split
    torchvision()
    from torchvision import datasets

    try:
        with staging_folder(final) as staging:
            getattr(datasets, folder.name)(str(staging), download=True, **options)
            for archive in (*staging.glob("*.tgz"), *staging.glob("*/*.zip")):
                archive.unlink()
            staging.chmod(0o755)
            os.rename(staging, final)
    except (OSError, RuntimeError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise SourceError(
            f"could not download {folder.name}: {error}; download and unpack it by other means and "
            "pass the path of its class folders"
        ) from error
