"""What an index has recorded of the units of a layer, as patches to embed and peaks to explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.choices import EmbedOf
from pipeline.layers.layer import Layer
from pipeline.naming.soft_wpmi import LONGEST
from pipeline.naming.word_names import LayerSample
from pipeline.query.index import Index
from pipeline.runs.embedding_table import PATCH, EmbeddingTable, Patches
from pipeline.state.label_sums import half_by

__all__ = ["Recorded", "read_recorded"]

_ENTRIES = """
SELECT unit, image_id, rank, activation, y, x FROM top
WHERE layer = $layer AND side = 'high' AND rank <= $longest
UNION ALL
SELECT unit, image_id, 0, activation, y, x FROM strata ANTI JOIN (
    SELECT unit, image_id FROM top WHERE layer = $layer AND side = 'high' AND rank <= $longest
) AS listed USING (unit, image_id)
WHERE layer = $layer
ORDER BY 1, 3, 2
"""

_PHOTOGRAPHS = """
SELECT images.image_id, first.image_id, first.origin, first.digest
FROM images JOIN images AS first ON first.image_id = coalesce(images.duplicate_of, images.image_id)
WHERE images.image_id IN (SELECT unnest($ids)) ORDER BY images.image_id
"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One entry per unit and image: those of its highest peaks, and those from each tenth of its range.

    Args:
        layer: of the units.
        unit: (entry,) int64, ascending.
        image_id: (entry,) int64.
        rank: (entry,) int64, in the list of highest peaks; 0 for others.
        peak: (entry,) float64.
        patches: (entry,) of dtype `PATCH`, what is embedded of each.
        half: (entry,) int64, 0 or 1; the same for near-duplicates.
        photograph: (entry,) int64, the same for near-duplicates and for crops of one photograph.
    """

    layer: Layer
    unit: npt.NDArray[np.int64]
    image_id: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]
    peak: npt.NDArray[np.float64]
    patches: Patches
    half: npt.NDArray[np.int64]
    photograph: npt.NDArray[np.int64]

    def sample(self, table: EmbeddingTable) -> LayerSample:
        """The entries with their rows of a table that has all patches."""
        return LayerSample(
            self.layer.units,
            self.unit,
            table.rows(self.patches),
            self.rank,
            self.peak,
            self.half,
            self.photograph,
        )


def read_recorded(index: Index, layer: Layer, of: EmbedOf) -> Recorded:
    """Read the entries of a layer.

    Args:
        index: open.
        layer: of it.
        of: whether the patch is what the peak's position sees, or all that the network was shown.
    """
    rows = index.sql(_ENTRIES, layer=layer.name, longest=LONGEST).rows
    unit, image_id, rank, y, x = (
        np.array([row[place] for row in rows], np.int64) for place in (0, 1, 2, 4, 5)
    )
    peak = np.array([row[3] for row in rows], np.float64)
    located = of == "patches" and index.run["config"]["score"] == "max" and layer.positions != "unknown"
    patches = _windows(index, layer, image_id, y, x, located=located)
    half, photograph = _photographs(index, image_id)
    return Recorded(layer, unit, image_id, rank, peak, patches, half, photograph)


def _windows(
    index: Index, layer: Layer, image_id: npt.NDArray[Any], y: Any, x: Any, *, located: bool
) -> Patches:
    """What each position sees of the network's input, cut off at its edges."""
    found = np.zeros(len(image_id), PATCH)
    found["image_id"] = image_id
    sides = (
        ("left", "right", layer.start_x + x * layer.stride_x, layer.rf_w, index.preprocess.width),
        ("top", "bottom", layer.start_y + y * layer.stride_y, layer.rf_h, index.preprocess.height),
    )
    for near, far, start, field, size in sides:
        whole = not located or field >= size
        found[near] = 0 if whole else np.clip(start, 0, size - 1)
        found[far] = size if whole else np.clip(start + field, 1, size)
    return found


def _photographs(
    index: Index, image_id: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The half of each image, and a number for the photograph that it is of."""
    known, places = np.unique(image_id, return_inverse=True)
    rows = index.sql(_PHOTOGRAPHS, ids=known.tolist()).rows
    origins: dict[str, int] = {}
    half = [half_by(origin, digest) for _, _, origin, digest in rows]
    # Numbers below zero are no image's.
    number = [
        first if origin is None else -1 - origins.setdefault(origin, len(origins))
        for _, first, origin, _ in rows
    ]
    return np.array(half, np.int64)[places], np.array(number, np.int64)[places]
