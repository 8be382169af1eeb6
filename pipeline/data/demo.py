"""The embedded dataset: 1,024 labelled JPEGs in four WebDataset shards, built in seconds.

Multi-scale crops of the openly licensed photographs that scikit-image and scikit-learn carry in
their wheels, and procedural textures. Nothing is downloaded. The same library versions give the
same bytes. Crops name the photograph they were cut from as their `origin`; docs/demo-data.md lists
licences and sources.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.data.demo_textures import TEXTURES, draw_texture
from pipeline.errors import SourceError
from pipeline.progress import Reporter, Silent

__all__ = ["DEMO_VERSION", "PHOTOGRAPHS", "Photograph", "build_demo", "demo_images"]

DEMO_VERSION = 1
"""Raised whenever the images change, so that an older build is replaced."""

SEED = 20151003
SHARD_IMAGES = 256
TEXTURES_EACH = 25
TEXTURE_SIZE = 256
"""Pixels along each side of a texture."""

MIN_CROP = 112
"""Pixels of the smallest crop's short side, before any resizing."""

MAX_SIDE = 288
"""Pixels of the short side that larger crops are reduced to."""

MIN_DETAIL = 12.0
"""Least standard deviation of a crop's luminance (0..255); flatter ones are drawn again."""

DRAWS = 12
"""How often a flat crop is drawn again before the most detailed one is taken."""

QUALITY = 90
"""Of the JPEGs."""

MANIFEST = "demo.json"
"""Written last: a folder that has it is whole."""


@dataclass(frozen=True, slots=True)
class Photograph:
    """One photograph of a wheel.

    Args:
        label: what it shows; also the origin of its crops.
        package: import name of the package that carries it.
        file: path inside the package.
        crops: how many crops are cut from it.
        licence: as its package states it.
        source: who made it.
    """

    label: str
    package: str
    file: str
    crops: int
    licence: str
    source: str


def _skimage(label: str, file: str, crops: int, licence: str, source: str) -> Photograph:
    return Photograph(label, "skimage", f"data/{file}", crops, licence, source)


def _sklearn(label: str, file: str, crops: int, licence: str, source: str) -> Photograph:
    return Photograph(label, "sklearn", f"datasets/images/{file}", crops, licence, source)


_CC0, _PUBLIC, _FREE = "CC0-1.0", "public domain", "no known copyright restrictions"

PHOTOGRAPHS = (
    _skimage("astronaut", "astronaut.png", 44, _PUBLIC, "NASA, Eileen Collins"),
    _skimage("brick wall", "brick.png", 20, _CC0, "CC0Textures, Bricks25"),
    _skimage("cameraman", "camera.png", 44, _CC0, "Lav Varshney"),
    _skimage("cell", "cell.png", 20, _CC0, "Paul Müller and others, doi:10.1364/OE.26.010729"),
    _skimage("cat", "chelsea.png", 44, _CC0, "Stefan van der Walt"),
    _skimage("clock", "clock_motion.png", 20, _PUBLIC, "Stefan van der Walt"),
    _skimage("coffee", "coffee.png", 44, _CC0, "Rachel Michetti, Pikolo Espresso Bar"),
    _skimage("coins", "coins.png", 44, _FREE, "Brooklyn Museum, Greek coins from Pompeii"),
    _skimage("grass", "grass.png", 20, _CC0, "linolafett, DeviantArt, Grass 01"),
    _skimage("gravel", "gravel.png", 20, _CC0, "CC0Textures, Gravel04"),
    _skimage("horse", "horse.png", 20, _CC0, "Andreas Preuss (marauder), openclipart 158377"),
    _skimage("galaxies", "hubble_deep_field.jpg", 44, _PUBLIC, "NASA, Hubble eXtreme Deep Field"),
    _skimage("tissue", "ihc.png", 44, _FREE, "Center for Microscopy And Molecular Imaging"),
    _skimage("retina", "retina.jpg", 44, _CC0, "Mikael Häggström, doi:10.15347/wjm/2014.008"),
    _skimage("rocket", "rocket.jpg", 44, _PUBLIC, "SpaceX, Falcon 9 with DSCOVR"),
    _skimage("handwriting", "text.png", 20, _PUBLIC, "Wikipedia, File:Corner.png"),
    _sklearn("temple", "china.jpg", 44, "CC-BY-2.0", "danielbuechele, flickr 6061409035"),
    _sklearn("flower", "flower.jpg", 44, "CC-BY-2.0", "vultilion, flickr 6056698931"),
)
"""The photographs, each with the licence its package states."""


def build_demo(folder: Path, *, reporter: Reporter | None = None) -> Path:
    """Build the demo dataset, or find it built.

    The folder appears under its name only when it is whole; a build of an older version is
    replaced.

    Args:
        folder: where `demo-000000.tar` and so on will lie.
        reporter: told how far it is.

    Returns:
        The folder.

    Raises:
        SourceError: when a package is missing, or the folder holds something else.
    """
    if _is_built(folder):
        return folder
    if folder.exists() and not (folder / MANIFEST).exists() and any(folder.iterdir()):
        raise SourceError(f"{folder} exists and is not a demo dataset; move it away or choose another cache")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _write(building, reporter or Silent())
            _publish(building, folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise SourceError(f"the demo dataset cannot be built in {folder}: {error}") from error
    return folder


def _is_built(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        sizes = {name: (folder / name).stat().st_size for name in manifest["shards"]}
        return bool(manifest["version"] == DEMO_VERSION and sizes == manifest["shards"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _publish(building: Path, folder: Path) -> None:
    """Put the finished folder in place; another process that was first wins."""
    if _is_built(folder):
        return
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        os.rename(folder, old / "old")
        shutil.rmtree(old, ignore_errors=True)
    try:
        os.rename(building, folder)
    except OSError:
        if not _is_built(folder):
            raise


def _write(folder: Path, reporter: Reporter) -> None:
    import PIL
    import webdataset

    images = _order()
    pattern = str(folder).replace("%", "%%") + "/demo-%06d.tar"
    owner = {"user": "maxact", "group": "maxact", "mtime": 0}
    with (
        reporter.task("building the demo dataset", len(images), "images") as task,
        webdataset.ShardWriter(pattern, maxcount=SHARD_IMAGES, encoder=False, verbose=0, **owner) as writer,
    ):
        for sample in _samples(images):
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


def demo_images() -> int:
    """How many images the demo dataset holds."""
    return len(_order())


def _order() -> list[tuple[str, int]]:
    """(label, number) of every image, mixed so that each shard is a cross-section."""
    images = [(photo.label, number) for photo in PHOTOGRAPHS for number in range(photo.crops)]
    images += [(label, number) for label in TEXTURES for number in range(TEXTURES_EACH)]
    order = np.random.default_rng(SEED).permutation(len(images))
    return [images[at] for at in order]


def _samples(images: list[tuple[str, int]]) -> Iterator[dict[str, Any]]:
    """What ShardWriter writes: `.jpg` and `.json` under one key."""
    photographs = {photo.label: photo for photo in PHOTOGRAPHS}
    pixels = {label: _photograph(photo) for label, photo in photographs.items()}
    names = sorted([*photographs, *TEXTURES])
    for label, number in images:
        rng = np.random.default_rng([SEED, names.index(label), number])
        notes: dict[str, str] = {"label": label}
        if label in photographs:
            image = _crop(pixels[label], rng)
            photo = photographs[label]
            notes |= {"origin": label, "licence": photo.licence, "source": photo.source}
        else:
            image = Image.fromarray(draw_texture(label, rng, TEXTURE_SIZE))
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=QUALITY)
        yield {
            "__key__": f"{label.replace(' ', '_')}/{number:02}",
            "jpg": encoded.getvalue(),
            "json": json.dumps(notes, ensure_ascii=False).encode(),
        }


def _photograph(photo: Photograph) -> Image.Image:
    """Read a photograph out of the installed package, without importing the package."""
    found = importlib.util.find_spec(photo.package)
    if found is None or found.origin is None:
        raise SourceError(
            f"the demo dataset needs {photo.package}, which is not installed; pip install 'maxact[demo]'"
        )
    path = Path(found.origin).parent / photo.file
    if not path.exists():
        raise SourceError(
            f"the installed {photo.package} does not carry {photo.file}; "
            "pip install --upgrade scikit-image scikit-learn"
        )
    with Image.open(path) as image:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")


def _crop(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Cut a box of random size, shape and place that shows something."""
    best, most = photo, -1.0
    for _ in range(DRAWS):
        crop = photo.crop(_box(photo.size, rng))
        detail = float(np.asarray(crop.convert("L")).std())
        if detail > most:
            best, most = crop, detail
        if detail >= MIN_DETAIL:
            break
    short = min(best.size)
    if short <= MAX_SIDE:
        return best
    width, height = (round(side * MAX_SIDE / short) for side in best.size)
    return best.resize((width, height), Image.Resampling.LANCZOS)


def _box(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random box: sides spread evenly on a log scale, aspect between 3:4 and 4:3."""
    side = np.exp(rng.uniform(np.log(MIN_CROP), np.log(min(size))))
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    width = int(min(size[0], max(MIN_CROP, side * np.sqrt(aspect))))
    height = int(min(size[1], max(MIN_CROP, side / np.sqrt(aspect))))
    left = int(rng.integers(0, size[0] - width + 1))
    top = int(rng.integers(0, size[1] - height + 1))
    return left, top, left + width, top + height
