"""Pictures that the index has already: renderings and projections, written into the atlas as WebP."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence

from PIL import Image

from pipeline.errors import StoreError
from pipeline.file_names import file_name
from pipeline.query.index import Index
from pipeline.store.derived import FINGERPRINT_NOTE
from pipeline.store.inside import inside
from viz.atlas import addresses
from viz.atlas.content import LayerContent
from viz.atlas.files import AtlasFiles, digest_of
from viz.atlas.pictures import encode_webp, on_card
from viz.sheets.cells import open_rendering

__all__ = [
    "VERSION",
    "Projections",
    "copy_projections",
    "copy_renderings",
    "encode_projections",
    "projections_size",
    "read_projections",
]

VERSION = 6
"""Increased when pictures are drawn in another way, so that those of earlier builds are replaced."""

MAX_SIDE = 2000
"""Pages of projections are reduced to this width."""

Projections = Mapping[tuple[str, int], tuple[int, int]]
"""Width and height of a unit's page of projections, by layer and unit."""


def copy_renderings(index: Index, files: AtlasFiles, contents: Sequence[LayerContent], quality: int) -> None:
    """Write the renderings that no card shows in full resolution.

    Raises:
        StoreError: if a rendering cannot be read, or a file cannot be written.
    """
    for content in contents:
        for unit in content.units:
            for number, row in enumerate(unit.renderings):
                if number == 0 and on_card(row):
                    continue
                name = addresses.rendering_file(content.layer.ordinal, unit.unit, number)
                key = digest_of(VERSION, row.fingerprint, row.activation, row.file, row.sha256, quality)
                if not files.has(name, key):
                    files.write(name, key, encode_webp(open_rendering(index.out, row), quality))


def copy_projections(
    index: Index, files: AtlasFiles, contents: Sequence[LayerContent], quality: int
) -> Projections:
    """Write the pages of projections that were made from the index; returns their sizes.

    Raises:
        StoreError: if a file cannot be written.
    """
    sizes = {}
    for content in contents:
        if not (index.out / _folder(content.layer.name)).is_dir():
            continue
        for unit in content.units:
            found = read_projections(index, content.layer.name, unit.unit)
            if found is None:
                continue
            data, picture = found
            name = addresses.projections_file(content.layer.ordinal, unit.unit)
            key = digest_of(VERSION, hashlib.sha256(data).hexdigest(), quality)
            sizes[unit.layer, unit.unit] = projections_size(picture)
            if not files.has(name, key):
                files.write(name, key, encode_projections(picture, quality))
    return sizes


def read_projections(index: Index, layer: str, unit: int) -> tuple[bytes, Image.Image] | None:
    """The page of projections of a unit, encoded and decoded; None if there is none of this index.

    Args:
        index: open.
        layer: by name.
        unit: of the layer.
    """
    try:
        data = inside(index.out, f"{_folder(layer)}/{unit:05}.png", folder="projections").read_bytes()
    except (OSError, StoreError):  # none, or a link leads elsewhere
        return None
    picture = _open(data, index.run["fingerprint"])
    return None if picture is None else (data, picture)


def projections_size(picture: Image.Image) -> tuple[int, int]:
    """Width and height of a page of projections in the atlas."""
    scale = min(1.0, MAX_SIDE / picture.width)
    return round(picture.width * scale), max(1, round(picture.height * scale))


def encode_projections(picture: Image.Image, quality: int) -> bytes:
    """A page of projections in the size of the atlas, as WebP of a quality from 1 to 100."""
    page = picture.convert("RGB").resize(projections_size(picture), Image.Resampling.LANCZOS)
    return encode_webp(page, quality)


def _folder(layer: str) -> str:
    return f"projections/{file_name(layer)}"


def _open(data: bytes, fingerprint: str) -> Image.Image | None:
    """A page of projections; None if it was made from another index, or is no picture."""
    try:
        picture = Image.open(io.BytesIO(data), formats=["PNG"])
        picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return picture if picture.info.get(FINGERPRINT_NOTE) == fingerprint else None
