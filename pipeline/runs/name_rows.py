"""The rows of names.parquet: those of different sources are written by different commands.

Each command replaces its own and keeps the others'. A unit's names from labels come first, then those from
concepts of images and from masks, as they are exact over all images; words follow, which are judged on the
images that the index lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DamagedFile
from pipeline.layers.layer import Layer
from pipeline.naming.vocabulary import Vocabulary
from pipeline.naming.word_names import WordName
from pipeline.store.layout import NAMES_TABLE, footer_of, holds_names
from pipeline.store.schemas import NAMES
from pipeline.store.tables import read_sealed_table, write_table

__all__ = [
    "CONCEPT_SOURCES",
    "ENCODER",
    "LABEL_SOURCES",
    "MASK_SOURCES",
    "WORD_SOURCES",
    "kept_names",
    "names_encoder",
    "other_sources",
    "word_rows",
    "write_name_rows",
]

LABEL_SOURCES = ("label", "wordnet", "hierarchy")
"""Names from labels, and what is above them."""

CONCEPT_SOURCES = ("concepts",)
"""Names from a user's concepts of single images."""

MASK_SOURCES = ("masks",)
"""Names from segmentation masks."""

WORD_SOURCES = ("words", "linear")
"""Names by an encoder: ranked words, and the terms of a sum of their scores."""

ENCODER = "maxact.encoder"
"""Key of the encoder's fingerprint in the footer of a table that was made with one."""


_SOURCES = (*LABEL_SOURCES, *CONCEPT_SOURCES, *MASK_SOURCES, *WORD_SOURCES)


def other_sources(replaced: Sequence[str]) -> tuple[str, ...]:
    """All sources but those that a command replaces."""
    return tuple(source for source in _SOURCES if source not in replaced)


def kept_names(out: Path, index_fingerprint: str, sources: Sequence[str]) -> pa.Table:
    """The rows of names.parquet that have one of the sources; none if it is not of this index.

    Raises:
        DamagedFile: when it is not as it was written.
        StoreError: when it cannot be read.
    """
    if not holds_names(out, index_fingerprint):
        return NAMES.empty_table()
    try:
        table = read_sealed_table(out / NAMES_TABLE, NAMES)
    except DamagedFile as error:
        raise DamagedFile(f"{error}; `maxact repair {out}` writes names from labels again") from error
    plain = table["source"].cast(pa.string())
    return table.filter(pc.is_in(plain, pa.array(sources)))


def names_encoder(out: Path) -> str:
    """The fingerprint of the encoder that the words in names.parquet are from; empty if there are none."""
    path = out / NAMES_TABLE
    return (footer_of(path) or {}).get(ENCODER, "") if path.is_file() else ""


def word_rows(layer: Layer, names: Sequence[WordName], words: Vocabulary) -> pa.Table:
    """The names of a layer's units in words as rows, ranked by unit and source.

    Args:
        layer: of the units.
        names: those of a unit and source one after another, best first.
        words: that they are rows of.
    """
    places: dict[tuple[int, str], int] = {}
    ranks = []
    for name in names:
        key = (name.unit, name.source)
        places[key] = places.get(key, 0) + 1
        ranks.append(places[key])
    columns = {
        "layer": [layer.name] * len(names),
        "unit": [name.unit for name in names],
        "rank": ranks,
        "concept": [words.words[name.word] for name in names],
        "source": [name.source for name in names],
        "correlation": [name.correlation for name in names],
        "held_out": [name.held_out for name in names],
        "combined": [name.combined for name in names],
        "images": [name.images for name in names],
        "weight": [name.weight for name in names],
    }
    return pa.table(columns, schema=NAMES)


def write_name_rows(
    out: Path,
    layers: Sequence[Layer],
    tables: Iterable[pa.Table],
    *,
    index_fingerprint: str,
    encoder: str,
) -> None:
    """Write names.parquet: by layer and unit, in the order of the sources, ranks counted anew.

    Args:
        out: folder of the index.
        layers: in forward order.
        tables: rows with ranks that order those of one unit and source.
        index_fingerprint: written into the footer.
        encoder: fingerprint of the encoder, likewise where there are words.

    Raises:
        StoreError: when it cannot be written.
    """
    table = pa.concat_tables([table.cast(NAMES) for table in tables] or [NAMES.empty_table()])
    ordinal = {layer.name: layer.ordinal for layer in layers}
    place = {source: number for number, source in enumerate(_SOURCES)}
    # The labels of one unit, of whichever source, are one ranking.
    place |= dict.fromkeys(LABEL_SOURCES, 0)
    of_layer = _codes(table["layer"], ordinal)
    of_source = _codes(table["source"], place)
    unit, rank = table["unit"].to_numpy(), table["rank"].to_numpy()
    order = np.lexsort((rank, of_source, unit, of_layer))
    table = table.take(pa.array(order))
    keys = np.stack([of_layer[order], unit[order]], axis=1)
    starts = np.ones(len(keys), np.bool_)
    starts[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    first = np.maximum.accumulate(np.where(starts, np.arange(len(keys)), 0))
    ranks = pa.array((np.arange(len(keys)) - first + 1).astype(np.int32))
    table = table.set_column(table.schema.get_field_index("rank"), NAMES.field("rank"), ranks)
    footer = {"maxact.fingerprint": index_fingerprint}
    if (of_source >= place[WORD_SOURCES[0]]).any():
        footer[ENCODER] = encoder
    write_table(out / NAMES_TABLE, NAMES, [_plain(table).cast(NAMES)], metadata=footer, sealed=True)


def _plain(table: pa.Table) -> pa.Table:
    """The table with its strings as such, so that they are encoded in the order of the rows."""
    text = {name: table[name].cast(pa.string()) for name in ("layer", "concept", "source")}
    return pa.table({name: text.get(name, table[name]) for name in table.column_names})


def _codes(column: pa.ChunkedArray, codes: Mapping[str, int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Numbers for the strings of a column; one that is not known comes last."""
    return np.array([codes.get(text, len(codes)) for text in column.to_pylist()], np.int64)
