"""Build the demo dataset: 1,024 labelled JPEGs in four WebDataset shards, without any download.

It contains multi-scale crops of photographs from the wheels of scikit-image and scikit-learn, and
procedural textures. The same library versions produce the same bytes. The `origin` of a crop is its
photograph; docs/demo-data.md lists licences and sources.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.data.demo_photographs import PHOTOGRAPHS, crop_photograph, read_photograph
from pipeline.data.demo_textures import TEXTURES, draw_texture
from pipeline.data.staging import staging_folder
from pipeline.errors import SourceError
from pipeline.progress import Reporter, Silent

__all__ = ["DEMO_VERSION", "build_demo"]

DEMO_VERSION = 1
"""Increased whenever the images change, so that older builds are replaced."""

SEED = 20151003
SHARD_IMAGES = 256
TEXTURES_EACH = 25
TEXTURE_SIZE = 256
"""Side length of a texture in pixels."""

QUALITY = 90
"""JPEG quality."""

MANIFEST = "demo.json"
"""File that is written last: a folder that contains it is complete."""


def build_demo(folder: Path, *, reporter: Reporter | None = None) -> Path:
    """Build the demo dataset, unless it exists.

    The dataset is built in a temporary folder that is renamed when it is complete. A build of an
    older version is replaced.

    Args:
        folder: folder of the shards `demo-000000.tar`, `demo-000001.tar`, ...
        reporter: receives the progress.

    Returns:
        The folder.

    Raises:
        SourceError: if a package is missing, or the folder contains other files.
    """
    if _is_built(folder):
        return folder
    if folder.exists() and not (folder / MANIFEST).exists() and any(folder.iterdir()):
        raise SourceError(
            f"{folder} exists and is not a demo dataset; move it or choose another cache folder"
        )
    try:
        with staging_folder(folder) as staging:
            _write_shards(staging, reporter or Silent())
            _move_into_place(staging, folder)
    except OSError as error:
        raise SourceError(f"could not build the demo dataset in {folder}: {error}") from error
    return folder


def _is_built(folder: Path) -> bool:
    """Return whether the folder contains a complete build of this version."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        sizes = {name: (folder / name).stat().st_size for name in manifest["shards"]}
        return bool(manifest["version"] == DEMO_VERSION and sizes == manifest["shards"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _move_into_place(staging: Path, folder: Path) -> None:
    """Rename the finished folder, unless another process has built the dataset meanwhile."""
    if _is_built(folder):
        return
    if folder.exists():
        with staging_folder(folder) as old:
            os.rename(folder, old / "old")
    try:
        os.rename(staging, folder)
    except OSError:
        if not _is_built(folder):
            raise


def _write_shards(folder: Path, reporter: Reporter) -> None:
    import PIL
    import webdataset

    images = _shuffled_images()
    pattern = str(folder).replace("%", "%%") + "/demo-%06d.tar"
    owner = {"user": "maxact", "group": "maxact", "mtime": 0}
    with (
        reporter.task("building the demo dataset", len(images), "images") as task,
        webdataset.ShardWriter(pattern, maxcount=SHARD_IMAGES, encoder=False, verbose=0, **owner) as writer,
    ):
        for sample in _draw_samples(images):
            writer.write(sample)
            task.advance()
    folder.chmod(0o755)
    shards = {path.name: path.stat().st_size for path in sorted(folder.glob("*.tar"))}
    manifest = {
        "version": DEMO_VERSION,
        "images": len(images),
        "shards": shards,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "photographs": [
            {"label": photo.label, "licence": photo.licence, "source": photo.source} for photo in PHOTOGRAPHS
        ],
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False), "utf-8")
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _shuffled_images() -> list[tuple[str, int]]:
    """Return (label, number) of every image in a fixed random order, so that shards are similar."""
    images = [(photo.label, number) for photo in PHOTOGRAPHS for number in range(photo.crops)]
    images += [(label, number) for label in TEXTURES for number in range(TEXTURES_EACH)]
    order = np.random.default_rng(SEED).permutation(len(images))
    return [images[at] for at in order]


def _draw_samples(images: list[tuple[str, int]]) -> Iterator[dict[str, Any]]:
    """Yield samples for `webdataset.ShardWriter`: a `.jpg` and a `.json` with a common key."""
    photographs = {photo.label: photo for photo in PHOTOGRAPHS}
    pixels = {label: read_photograph(photo) for label, photo in photographs.items()}
    names = sorted([*photographs, *TEXTURES])
    for label, number in images:
        rng = np.random.default_rng([SEED, names.index(label), number])
        fields: dict[str, str] = {"label": label}
        if label in photographs:
            image = crop_photograph(pixels[label], rng)
            photo = photographs[label]
            fields |= {"origin": label, "licence": photo.licence, "source": photo.source}
        else:
            image = Image.fromarray(draw_texture(label, rng, TEXTURE_SIZE))
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=QUALITY)
        yield {
            "__key__": f"{label.replace(' ', '_')}/{number:02}",
            "jpg": encoded.getvalue(),
            "json": json.dumps(fields, ensure_ascii=False).encode(),
        }
