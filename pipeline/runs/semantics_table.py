"""The table semantics.parquet: what the embeddings of its strongest images say of each unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import StoreError
from pipeline.layers.layer import Layer
from pipeline.naming.semantics import nearest_units, unit_semantics
from pipeline.naming.word_names import LayerSample
from pipeline.runs.embedding_table import embedding_column
from pipeline.store.layout import SEMANTICS_TABLE, footer_of
from pipeline.store.schemas import SEMANTICS
from pipeline.store.tables import read_sealed_table, write_table

__all__ = ["LayerSemantics", "score_layer", "write_semantics"]

_SAME = ("maxact.fingerprint", "maxact.encoder", "maxact.embedded")
"""Keys of the footer that must agree for rows of other layers to stay."""


@dataclass(frozen=True, slots=True)
class LayerSemantics:
    """The rows of one layer.

    Args:
        layer: its name.
        rows: of the schema `SEMANTICS`.
    """

    layer: str
    rows: pa.Table


def score_layer(layer: Layer, sample: LayerSample, embeddings: npt.NDArray[np.float32]) -> LayerSemantics:
    """Score the units of a layer that have images of highest peaks.

    Args:
        layer: of the sample.
        sample: of its units.
        embeddings: (patch, dimension) of length 1.
    """
    dimension = embeddings.shape[1]
    means = np.zeros((layer.units, dimension))
    images = np.zeros(layer.units, np.int32)
    clarity, mixed = np.full(layer.units, np.nan), np.full(layer.units, np.nan)
    for unit in range(layer.units):
        rows = sample.of_unit(unit)
        patches = sample.patch[rows][sample.rank[rows] > 0]
        images[unit] = len(patches)
        if len(patches):
            found = unit_semantics(embeddings[patches])
            means[unit], clarity[unit], mixed[unit] = found.mean, found.clarity, found.polysemanticity
    counted = images > 0
    nearest = nearest_units(means, counted)
    chosen = counted.nonzero()[0]
    rows_of = {
        "layer": pa.array([layer.name] * len(chosen)),
        "unit": chosen.astype(np.int32),
        "images": images[chosen],
        "clarity": _column(clarity[chosen]),
        "polysemanticity": _column(mixed[chosen]),
        "redundancy": _column(nearest.cosine[chosen]),
        "nearest": pa.array([None if unit < 0 else int(unit) for unit in nearest.unit[chosen]], pa.int32()),
        "embedding": embedding_column(means[chosen], dimension),
    }
    return LayerSemantics(layer.name, pa.table(rows_of).cast(SEMANTICS))


def write_semantics(
    out: Path, layers: Sequence[Layer], scored: Sequence[LayerSemantics], footer: Mapping[str, str]
) -> None:
    """Write semantics.parquet; layers that were not scored keep their rows of the same encoder.

    Args:
        out: folder of the index.
        layers: of the index, in forward order.
        scored: by layer.
        footer: fingerprints, and of what the embeddings are.

    Raises:
        StoreError: when it cannot be written.
    """
    of_layer = {each.layer: each.rows for each in scored}
    kept = _kept(out, footer)
    tables = [
        of_layer[layer.name]
        if layer.name in of_layer
        else kept.filter(pc.equal(kept["layer"].cast(pa.string()), layer.name))
        for layer in layers
    ]
    write_table(
        out / SEMANTICS_TABLE,
        SEMANTICS,
        [pa.concat_tables(tables).unify_dictionaries()],
        metadata=dict(footer),
        sealed=True,
    )


def _kept(out: Path, footer: Mapping[str, str]) -> pa.Table:
    """The rows that are there, if they were made in the same way."""
    path = out / SEMANTICS_TABLE
    found = (footer_of(path) or {}) if path.is_file() else {}
    if any(found.get(key) != footer[key] for key in _SAME):
        return SEMANTICS.empty_table()
    try:
        return read_sealed_table(path, SEMANTICS)
    except StoreError:  # damaged: it can be computed again
        return SEMANTICS.empty_table()


def _column(values: npt.NDArray[np.float64]) -> pa.Array:
    """Numbers as a column, null where there is none."""
    return pa.array(values, pa.float32(), from_pandas=True)
