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

__all__ = ["VERSION", "Projections", "copy_projections", "copy_renderings"]

VERSION = 5
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
        folder = f"projections/{file_name(content.layer.name)}"
        if not (index.out / folder).is_dir():
            continue
        for unit in content.units:
            data = _read(index, f"{folder}/{unit.unit:05}.png")
            picture = None if data is None else _open(data, index.run["fingerprint"])
            if data is None or picture is None:
                continue
            scale = min(1.0, MAX_SIDE / picture.width)
            size = (round(picture.width * scale), max(1, round(picture.height * scale)))
            name = addresses.projections_file(content.layer.ordinal, unit.unit)
            key = digest_of(VERSION, hashlib.sha256(data).hexdigest(), quality)
            if not files.has(name, key):
                page = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
                files.write(name, key, encode_webp(page, quality))
            sizes[unit.layer, unit.unit] = size
    return sizes


def _read(index: Index, name: str) -> bytes | None:
    """A file of the index; None where there is none, or a link leads elsewhere."""
    try:
        return inside(index.out, name, folder="projections").read_bytes()
    except (OSError, StoreError):
        return None


def _open(data: bytes, fingerprint: str) -> Image.Image | None:
    """A page of projections; None if it was made from another index, or is no picture."""
    try:
        picture = Image.open(io.BytesIO(data), formats=["PNG"])
        picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return picture if picture.info.get(FINGERPRINT_NOTE) == fingerprint else None
