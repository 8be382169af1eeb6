"""What is made from an index in its folder: renderings, sheets, projections, trained files, the atlas.

Each carries the fingerprint of the index that it was made from: a rendering in its row, a picture and
a PDF in their metadata, a prior beside its tensors, an atlas in its record. What belongs to another index
is not shown, and removed by `--fresh` and `maxact clean`. Only files that maxact has marked as its own are
removed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import StoreError
from pipeline.store.atlas_record import remove_atlas
from pipeline.store.inside import inside
from pipeline.store.layout import RENDERS_TABLE, own_tables
from pipeline.store.schemas import RENDERS
from pipeline.store.tables import read_table, write_table
from pipeline.working_copies import withdraw

__all__ = ["FINGERPRINT_NOTE", "Derived", "derived_files", "remove_derived"]

FINGERPRINT_NOTE = "maxact.fingerprint"
"""Key of the index's fingerprint in the text of a PNG, the keywords of a PDF and a trained file."""

TRAINED: Mapping[str, Set[str]] = {
    "prior": {"version", "shape", "network", "decoder"},
    "robust": {"version", "layers", "network", "weights"},
}
"""Folders of trained files, and the keys by which theirs are known: priors, robust copies."""

OWN_NOTE = "maxact"
"""Key of a text in the PNG of a rendering; also how `Software` starts in those of sheets."""

COLUMN = "index_fingerprint"

_CHECKPOINT = re.compile(r"\.[0-9a-f]{16}-[0-9a-f]{16}\.checkpoint")
"""Names that `viz.render.checkpoints` uses in OUT/renders."""


@dataclass(frozen=True, slots=True)
class Derived:
    """A file that maxact made from an index.

    Args:
        path: of the file.
        fingerprint: of the index; None if it does not say.
    """

    path: Path
    fingerprint: str | None


def derived_files(out: Path) -> Iterator[Derived]:
    """The sheets, projections, priors and robust copies in OUT that maxact made."""
    for folder in ("sheets/*.png", "projections/*/*.png"):
        for path in sorted(out.glob(folder)):
            notes = _png_notes(path)
            if notes is not None:
                yield Derived(path, notes.get(FINGERPRINT_NOTE))
    for path in sorted(out.glob("sheets/*.pdf")):
        found = _pdf_fingerprint(path)
        if found is not None:
            yield Derived(path, found or None)
    for folder, keys in TRAINED.items():
        for path in sorted(out.glob(f"{folder}/*.pt")):
            content = _trained_content(path, keys)
            if content is not None:
                yield Derived(path, content.get(FINGERPRINT_NOTE))


def remove_derived(out: Path, *, keep: str, unmarked: str = "") -> int:
    """Remove what was made from other indexes.

    Args:
        out: folder of the index.
        keep: fingerprint of the index whose files stay.
        unmarked: fingerprint of the index to which files belong that do not say.

    Returns:
        The number of renderings and other files removed.

    Raises:
        StoreError: when one cannot be removed.
    """
    count = 0
    try:
        count += _remove_renders(out, keep, unmarked)
        for each in list(derived_files(out)):
            if (each.fingerprint or unmarked) != keep:
                each.path.unlink(missing_ok=True)
                withdraw(each.path)
                count += 1
        count += remove_atlas(out, keep=keep, unmarked=unmarked)
        for folder in ("renders", "projections", "sheets", *TRAINED):
            _remove_empty(out / folder)
    except OSError as error:
        raise StoreError(f"cannot remove {error.filename}: {error.strerror or error}") from error
    return count


def _remove_renders(out: Path, keep: str, unmarked: str) -> int:
    """Remove the renderings of other indexes, with their rows; pictures without a row go as well."""
    path = out / RENDERS_TABLE
    rows = kept = RENDERS.empty_table()
    if path in own_tables(out):
        with contextlib.suppress(StoreError):  # damaged, or of another version: nothing of it can be shown
            rows = kept = read_table(path)
        of_index = (
            pc.fill_null(rows[COLUMN], unmarked)
            if COLUMN in rows.column_names
            else pa.array([unmarked] * rows.num_rows, pa.string())
        )
        kept = rows.filter(pc.equal(of_index, keep))
        if not kept.num_rows:
            path.unlink()
            withdraw(path)
        elif kept.num_rows < rows.num_rows:
            write_table(path, kept.schema.remove_metadata(), [kept], sealed=True)
    stay = {out / name for name in kept["file"].to_pylist()}
    for name in rows["file"].to_pylist():
        with contextlib.suppress(StoreError):  # the table names a file elsewhere: it is not touched
            picture = inside(out, name, folder="renders")
            if picture not in stay:
                picture.unlink(missing_ok=True)
                withdraw(picture)
    for picture in sorted(out.glob("renders/*/*.png")):
        if picture not in stay and (_png_notes(picture) or {}).get(OWN_NOTE) is not None:
            picture.unlink()
            withdraw(picture)
    if keep != unmarked:
        for path in sorted(out.glob("renders/.*.checkpoint")):
            if _CHECKPOINT.fullmatch(path.name):
                path.unlink()
    return int(rows.num_rows - kept.num_rows)


def _remove_empty(folder: Path) -> None:
    for path in (*folder.glob("*"), folder):
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):  # it has other files
                path.rmdir()


def _png_notes(path: Path) -> dict[str, str] | None:
    """The texts in a PNG of maxact; None for any other file."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as picture:
            notes = {str(key): str(value) for key, value in picture.info.items()}
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    own = OWN_NOTE in notes or notes.get("Software", "").partition(" ")[0] == OWN_NOTE
    return notes if own else None


def _pdf_fingerprint(path: Path) -> str | None:
    """The fingerprint in a PDF of maxact, empty if there is none; None for any other file."""
    from PIL import PdfParser

    try:
        with PdfParser.PdfParser(str(path), mode="rb") as file:
            creator = str(getattr(file.info, "Creator", ""))
            keywords = str(getattr(file.info, "Keywords", ""))
    except (OSError, ValueError, LookupError, TypeError, PdfParser.PdfFormatError, RecursionError):
        return None
    if creator.partition(" ")[0] != OWN_NOTE:
        return None
    return keywords.removeprefix(f"{FINGERPRINT_NOTE}=")


def _trained_content(path: Path, keys: Set[str]) -> dict[str, str] | None:
    """The texts beside the tensors of a file that maxact trained; None for one without these keys."""
    import pickle

    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError):
        return None
    if not isinstance(content, dict) or not keys <= content.keys():
        return None
    return {key: value for key, value in content.items() if isinstance(value, str)}
