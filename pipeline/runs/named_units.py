"""What naming units gives: a summary, and rows of names.parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.layers.layer import Layer
from pipeline.naming.name_units import UnitNames
from pipeline.progress import readable_count
from pipeline.store.schemas import NAMES

__all__ = ["Naming", "name_tables"]


@dataclass(frozen=True, slots=True)
class Naming:
    """What was named.

    Args:
        out: folder of the index.
        units: of all layers.
        named: units that have a name.
        concepts: that were compared with each unit.
        source: `label`, `wordnet` or `hierarchy`: what was above the labels; or `concepts`.
        seconds: duration.
    """

    out: Path
    units: int
    named: int
    concepts: int
    source: str
    seconds: float

    def __str__(self) -> str:
        """One line."""
        above = {"wordnet": " and WordNet above them", "hierarchy": " and the hierarchy above them"}
        given = "the concepts of images" if self.source == "concepts" else "labels"
        return (
            f"{self.named:,} of {readable_count(self.units, 'unit')} named from {given}"
            f"{above.get(self.source, '')} ({readable_count(self.concepts, 'concept')})"
        )


def name_tables(
    layers: Sequence[Layer], names: Sequence[str], sources: Sequence[str], found: UnitNames
) -> Iterator[pa.Table]:
    """The rows of a span of units, layer by layer.

    Args:
        layers: of the index.
        names, sources: of the concepts.
        found: the names of the units.
    """
    offset = 0
    for layer in layers:
        rows = slice(*np.searchsorted(found.unit, (offset, offset + layer.units)))
        count = rows.stop - rows.start
        if count:
            chosen = found.concept[rows]
            yield pa.table(
                {
                    "layer": pa.array([layer.name] * count),
                    "unit": (found.unit[rows] - offset).astype(np.int32),
                    "rank": found.rank[rows].astype(np.int32),
                    "concept": pa.array([names[row] for row in chosen]),
                    "source": pa.array([sources[row] for row in chosen]),
                    "correlation": found.correlation[rows],
                    "held_out": found.held_out[rows],
                    "combined": found.combined[rows],
                    "images": found.images[rows],
                    "weight": found.weight[rows],
                }
            ).cast(NAMES)
        offset += layer.units
