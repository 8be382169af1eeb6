"""The photographs of the demo dataset, and random crops of them.

All are openly licensed and contained in the wheels of scikit-image and scikit-learn.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.errors import SourceError

__all__ = ["MIN_CROP", "MIN_DETAIL", "PHOTOGRAPHS", "Photograph", "crop_photograph", "read_photograph"]

MIN_CROP = 112
"""Minimum length of the sides of a crop in pixels, before it is resized."""

MAX_SIDE = 288
"""Larger crops are reduced to this length of the shorter side, in pixels."""

MIN_DETAIL = 12.0
"""Minimum standard deviation of a crop's luminance (0..255); flatter crops are rejected."""

ATTEMPTS = 12
"""Number of random crops after which the one with the most detail is used."""


@dataclass(frozen=True, slots=True)
class Photograph:
    """A photograph contained in a Python package.

    Args:
        label: label and origin of its crops.
        package: import name of the package.
        file: path within the package.
        crops: number of crops in the dataset.
        licence: as stated by the package.
        source: author or institution.
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
"""The photographs of the demo dataset."""


def read_photograph(photo: Photograph) -> Image.Image:
    """Read a photograph as RGB from the installed package, without importing the package.

    Raises:
        SourceError: if the package is not installed or does not contain the file.
    """
    found = importlib.util.find_spec(photo.package)
    if found is None or found.origin is None:
        raise SourceError(
            f"the demo dataset needs {photo.package}, which is not installed; "
            "run `pip install 'maxact[demo]'`"
        )
    path = Path(found.origin).parent / photo.file
    if not path.exists():
        raise SourceError(
            f"the installed version of {photo.package} does not contain {photo.file}; "
            "run `pip install --upgrade scikit-image scikit-learn`"
        )
    with Image.open(path) as image:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")


def crop_photograph(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Cut a random box that contains detail, and reduce it to at most `MAX_SIDE`.

    Args:
        photo: RGB.
        rng: source of the size, shape and position.
    """
    best, most = photo, -1.0
    for _ in range(ATTEMPTS):
        crop = photo.crop(_random_box(photo.size, rng))
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


def _random_box(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a box (left, top, right, bottom): log-uniform size, aspect ratio between 3:4 and 4:3."""
    side = np.exp(rng.uniform(np.log(MIN_CROP), np.log(min(size))))
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    width = int(min(size[0], max(MIN_CROP, side * np.sqrt(aspect))))
    height = int(min(size[1], max(MIN_CROP, side / np.sqrt(aspect))))
    left = int(rng.integers(0, size[0] - width + 1))
    top = int(rng.integers(0, size[1] - height + 1))
    return left, top, left + width, top + height
