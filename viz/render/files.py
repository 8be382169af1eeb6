"""The PNGs of renderings: their names and how they are written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from pipeline.file_names import file_name
from pipeline.store.files import atomic_path, make_folder
from pipeline.visible import visible

__all__ = ["picture_name", "save_picture"]

MAX_LETTERS = 60
"""Longest part of a name for a recipe or an objective; the name has at most 255 letters in all."""


def picture_name(
    layer: str, recipe: str, objective: str, unit: int, facet: int, seed: int, fingerprint: str
) -> str:
    """The path of a rendering's PNG, relative to OUT."""
    parts = [recipe, objective, f"{unit:05}" if unit >= 0 else "all", f"s{seed}"]
    parts += [f"f{facet}"] if facet else []
    name = "-".join(_slug(part) for part in [*parts, fingerprint[:8]])
    return (Path("renders") / file_name(layer) / f"{name}.png").as_posix()


def save_picture(path: Path, planes: Sequence[Tensor], about: str) -> None:
    """Write one PNG atomically.

    Args:
        path: its final name; folders are made.
        planes: (channel, y, x) uint8 colours, then the opacity (1, y, x) where there is one.
        about: a line of text kept in the file.

    Raises:
        StoreError: when it cannot be written.
    """
    make_folder(path.parent)
    pixels = torch.cat(list(planes)).permute(1, 2, 0).squeeze(2).numpy()
    text = PngInfo()
    text.add_text("maxact", visible(about))
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", pnginfo=text)


def _slug(text: str) -> str:
    """A part of a name to be read; it need not be unique, as the fingerprint is another part."""
    return re.sub(r"[^A-Za-z0-9._]+", "_", text)[:MAX_LETTERS].strip("_.") or "_"
