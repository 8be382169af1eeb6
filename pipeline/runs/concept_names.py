"""Names of units from a user's concepts of single images, by the kept peaks of all images."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import StoreError, UsageError
from pipeline.naming.concepts_file import ConceptsFile, read_concepts
from pipeline.naming.image_concepts import ImageConcepts, count_images, eligible_concepts, sum_peaks
from pipeline.naming.name_units import name_spans
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index, open_index
from pipeline.query.kept_peaks import no_peaks
from pipeline.runs.name_rows import (
    CONCEPT_SOURCES,
    kept_names,
    names_encoder,
    other_sources,
    write_name_rows,
)
from pipeline.runs.named_units import Naming, name_tables
from pipeline.state.label_sums import half_by
from pipeline.store.leftovers import writing
from pipeline.store.run_file import locked, read_finished_run

__all__ = ["match_concepts", "name_by_concepts"]

_SHOWN = 3
"""Keys that a message names."""

_MEMORY = 1 << 28
"""Bytes of the peaks that are in memory together."""

_IMAGES = "SELECT key, origin, digest FROM images ORDER BY image_id"


def name_by_concepts(
    out: Path, path: Path, *, trust: bool = False, reporter: Reporter | None = None
) -> Naming:
    """Name the units of a finished index from concepts of its images, in place of such names that it has.

    Args:
        out: folder of an index that keeps the peaks of all images.
        path: file of concepts, see `pipeline.naming.concepts_file`.
        trust: follow links out of OUT.
        reporter: shows the progress.

    Raises:
        StoreError: when OUT holds no finished index, or keeps no peaks.
        UsageError: when the file cannot be used.
        UntrustedIndex: when a link leads out of OUT.
    """
    reporter, started = reporter or Silent(), time.monotonic()
    file = read_concepts(path)
    read_finished_run(out)  # before the folder is created or locked
    with locked(out), writing(out), open_index(out, trust=trust) as index:
        if not index.keeps_peaks:
            raise StoreError(f"concepts of images need the peaks of all images, but {no_peaks(out)}")
        concepts = match_concepts(file, index)
        rows = list(_name(index, file.concepts, concepts, reporter))
        fingerprint = str(index.run["fingerprint"])
        others, encoder = kept_names(out, fingerprint, other_sources(CONCEPT_SOURCES)), names_encoder(out)
        write_name_rows(out, index.layers, [*rows, others], index_fingerprint=fingerprint, encoder=encoder)
        units = sum(layer.units for layer in index.layers)
    named = len({unit for table in rows for unit in zip(*_places(table), strict=True)})
    return Naming(out, units, named, len(file.concepts), "concepts", time.monotonic() - started)


def _places(table: pa.Table) -> tuple[list[str], list[int]]:
    return table["layer"].to_pylist(), table["unit"].to_pylist()


def _name(
    index: Index, names: tuple[str, ...], concepts: ImageConcepts, reporter: Reporter
) -> Iterator[pa.Table]:
    """Rows of names.parquet, a span of units at a time."""
    matrix, chosen = index.peaks.matrix, eligible_concepts(concepts)
    kept = ImageConcepts(tuple(concepts.rows[row] for row in chosen), concepts.half)
    counts = count_images(kept)
    most = max(1, _MEMORY // max(8 * matrix.image_count, 1))

    with reporter.task("naming units", matrix.unit_count, "units") as task:
        done = 0
        spans = name_spans(
            matrix.unit_count if len(chosen) else 0,
            counts,
            lambda span: sum_peaks(kept, counts, matrix.units(span)),
            chosen,
            most=most,
        )
        for found in spans:
            yield from name_tables(index.layers, names, CONCEPT_SOURCES * len(names), found)
            task.advance(found.units - done)
            done = found.units


def match_concepts(file: ConceptsFile, index: Index) -> ImageConcepts:
    """The images of an index that have the concepts of a file.

    Raises:
        UsageError: when the file names images that the index does not have, or that several are called by.
    """
    images = index.sql(_IMAGES).rows
    row_of = {key: row for row, (key, _, _) in enumerate(images)}
    named = [*(key for keys in file.keys for key in keys), *(file.images or ())]
    unknown = sorted({key for key in named if key not in row_of})
    if unknown:
        shown = ", ".join(ascii(key) for key in unknown[:_SHOWN])
        more = f" and {len(unknown) - _SHOWN:,} more" if len(unknown) > _SHOWN else ""
        raise UsageError(
            f"the concepts {file.where} name {shown}{more}, which {index.out} does not have; it has "
            f"{len(images):,} images, such as {', '.join(ascii(row[0]) for row in images[:_SHOWN])}"
        )
    if len(row_of) < len(images):
        _refuse_equal_keys(file, index, [row[0] for row in images], set(named))
    half = np.array([half_by(origin, digest) for _, origin, digest in images], np.int8)
    if file.images is not None:
        known = np.zeros(len(half), np.bool_)
        known[[row_of[key] for key in file.images]] = True
        half[~known] = -1
    return ImageConcepts(tuple(_rows(keys, row_of) for keys in file.keys), half)


def _rows(keys: tuple[str, ...], row_of: dict[str, int]) -> npt.NDArray[np.int64]:
    return np.unique(np.array([row_of[key] for key in keys], np.int64))


def _refuse_equal_keys(file: ConceptsFile, index: Index, keys: list[str], named: set[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen and key in named:
            raise UsageError(
                f"the concepts {file.where} name {key!a}, but several images of {index.out} are called so"
            )
        seen.add(key)
