"""The table of renderings, `renders.parquet`: one row for each picture in `renders/`.

A row is identified by layer, unit, recipe, objective, facet and seed. Rendering it again with other
options replaces the row and its picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import pyarrow as pa

from pipeline.errors import DamagedFile
from pipeline.images.preprocess import Box
from pipeline.progress import Reporter, readable_count
from pipeline.store.files import remove_file, sha256_file
from pipeline.store.inside import inside
from pipeline.store.layout import RENDERS_TABLE
from pipeline.store.run_file import locked
from pipeline.store.schemas import PATH_VERSION, RENDERS
from pipeline.store.tables import read_sealed_table, write_table
from pipeline.working_copies import copy_of, publish, pull

__all__ = ["Rendered", "load_renders", "merge_renders", "note_hidden", "read_renders", "without_path"]

LOCK = ".renders.lock"
"""Held while the table is read and written, so that processes do not overwrite each other's rows."""

_AGAIN = "run the same `maxact render` again"


@dataclass(frozen=True, slots=True)
class Rendered:
    """One rendering: a row of `renders.parquet`.

    Args:
        layer, unit, recipe, objective, facet, seed: which rendering it is.
        activation: of the target, measured on the saved 8-bit PNG in the network's ordinary
            preprocessing: at the target's position for a point, the peak for a channel, the
            objective's value otherwise.
        peak: of the unit in that picture, as the index scores an image (maximum over positions).
        best_real: the dataset's most extreme peak of the unit; None without an index.
        p999: the dataset's 99.9th percentile of the unit's peaks.
        ratio: activation over best_real, where that is positive (for the lowest: negative).
        steps: gradient steps taken.
        best_step: the step whose score was the highest, from 0.
        status: `ok`; `retried`: the second attempt succeeded, with the redirected rule and another
            seed; `weak`: both attempts stayed below the dataset's 90th percentile; `grey`: they show
            nothing.
        relu: the ReLU rule during gradient ascent.
        precision: of gradient ascent.
        file: the PNG, relative to OUT.
        width, height: of the PNG.
        box_left, box_top, box_right, box_bottom: the target's receptive field in the PNG.
        images: image_ids of the top images that it was made from.
        fingerprint: of everything that decided the picture.
        trace: (step,) the score of each step.
        index_fingerprint: of the index that best_real and p999 are from; None without one.
        sha256: of the PNG; None for renderings of earlier versions.
        path: the part of the contributions behind the picture that come as in the unit's top patches, on
            0..1; None where it was not measured. See `viz.paths`.
        no_path: why `path` cannot be measured; None where it was, or was not tried.
        path_version: of the measure that `path` and `no_path` are from; None where both are None.
    """

    layer: str
    unit: int
    recipe: str
    objective: str
    facet: int
    seed: int
    activation: float
    peak: float | None
    best_real: float | None
    p999: float | None
    ratio: float | None
    steps: int
    best_step: int
    status: str
    relu: str
    precision: str
    file: str
    width: int
    height: int
    box_left: float
    box_top: float
    box_right: float
    box_bottom: float
    fingerprint: str
    images: tuple[int, ...] = ()
    trace: tuple[float, ...] = ()
    index_fingerprint: str | None = None
    sha256: str | None = None
    path: float | None = None
    no_path: str | None = None
    path_version: int | None = None

    @property
    def key(self) -> tuple[str, int, str, str, int, int]:
        """What identifies the rendering in the table."""
        return (self.layer, self.unit, self.recipe, self.objective, self.facet, self.seed)

    @property
    def box(self) -> Box:
        """The target's receptive field in the PNG."""
        return Box(self.box_left, self.box_top, self.box_right, self.box_bottom)

    def read(self, out: Path) -> bytes:
        """The PNG in the folder OUT.

        Raises:
            DamagedFile: when it is missing or is not the one that was rendered.
        """
        if not self._is_here(out):
            pull(out, self.file)
        path = out / self.file
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DamagedFile(
                f"rendering {path} cannot be read: {error.strerror or error}; {_AGAIN}"
            ) from error
        if self.sha256 is not None and hashlib.sha256(data).hexdigest() != self.sha256:
            raise DamagedFile(f"rendering {path} was changed after it was rendered; {_AGAIN}")
        return data

    def _is_here(self, out: Path) -> bool:
        """Whether a folder has the PNG and needs not fetch it, which only a working copy can."""
        if copy_of(out) is None:
            return True
        path = out / self.file
        return path.is_file() and self.sha256 in (None, sha256_file(path))

    def is_intact(self, out: Path) -> bool:
        """Whether the PNG in the folder OUT is there and is the one that was rendered."""
        try:
            return bool(self.read(out))
        except DamagedFile:
            return False


def load_renders(out: Path) -> list[Rendered]:
    """All renderings in OUT; none when nothing was rendered yet.

    Raises:
        StoreError: when the table is damaged or of another version, or names a file that is not
            below OUT/renders.
    """
    path = out / RENDERS_TABLE
    if not path.exists():
        return []
    try:
        table = read_sealed_table(path, RENDERS)
    except DamagedFile as error:
        raise DamagedFile(f"{error}; delete it and render again, the index is not changed") from error
    # Those of older versions do not say from which index they were made.
    names = [field.name for field in fields(Rendered) if field.name in table.column_names]
    rows = table.select(names).to_pylist()
    for row in rows:
        inside(out, row["file"], folder="renders")
    lists = ("images", "trace")
    found = [Rendered(**{**row, **{key: tuple(row[key] or ()) for key in lists}}) for row in rows]
    return [row if row.path_version == PATH_VERSION else without_path(row) for row in found]


def without_path(row: Rendered) -> Rendered:
    """The row as if its path had not been measured yet."""
    return replace(row, path=None, no_path=None, path_version=None)


def read_renders(
    out: Path,
    layer: str,
    recipe: str | None = None,
    *,
    objective: str | None = None,
    index_fingerprint: str | None = None,
) -> dict[int, list[Rendered]]:
    """A layer's renderings by unit, ordered by recipe, objective, facet and seed.

    Args:
        out: the index's folder.
        layer: by name.
        recipe: only of this recipe.
        objective: only of this objective.
        index_fingerprint: only those that were made from this index.

    Raises:
        StoreError: when the table is damaged or of another version.
    """
    found: dict[int, list[Rendered]] = {}
    for row in load_renders(out):
        if row.layer != layer or recipe not in (None, row.recipe):
            continue
        if index_fingerprint not in (None, row.index_fingerprint):
            continue
        if objective in (None, row.objective):
            found.setdefault(row.unit, []).append(row)
    for rows in found.values():
        rows.sort(key=lambda row: row.key)
    return found


def note_hidden(out: Path, index_fingerprint: str, reporter: Reporter) -> None:
    """Say how many renderings in OUT are not shown, as they were not made from this index.

    Raises:
        StoreError: when the table is damaged or of another version.
    """
    hidden = sum(row.index_fingerprint != index_fingerprint for row in load_renders(out))
    if hidden:
        reporter.note(
            f"{readable_count(hidden, 'rendering')} in {out} {'belong' if hidden > 1 else 'belongs'} to "
            f"another index or an older maxact and {'are' if hidden > 1 else 'is'} not shown; render again, "
            f"or remove {'them' if hidden > 1 else 'it'} with `maxact clean {out}`"
        )


def merge_renders(out: Path, new: Sequence[Rendered]) -> None:
    """Add renderings to the table, replacing rows of the same key, and remove replaced pictures.

    Several processes may do so at once, one GPU each, say.

    Raises:
        StoreError: when the table cannot be read or written.
    """
    with locked(out, LOCK, wait=True):
        pull(out, RENDERS_TABLE)
        rows = {row.key: row for row in load_renders(out)}
        replaced = [rows[row.key].file for row in new if row.key in rows]
        rows.update({row.key: row for row in new})
        _write(out, (rows[key] for key in sorted(rows)))
        kept = {row.file for row in rows.values()}
        for file in replaced:
            if file not in kept:
                remove_file(out / file)
        publish(out, "renders/**/*", RENDERS_TABLE)


def _write(out: Path, rows: Iterable[Rendered]) -> None:
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=RENDERS)
    write_table(out / RENDERS_TABLE, RENDERS, [table], sealed=True)
