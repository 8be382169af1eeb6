"""The sample of images of committed parts, of which a span of units at a time is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.state.part_blocks import iterate_sample, read_sample_images
from pipeline.state.sample import SAMPLE_SIZE, PeakSample
from pipeline.store.rows import Rows

__all__ = ["StoredSample", "gather_sample"]

Ids = npt.NDArray[np.int64]

_MEMORY = 64 << 20
"""Bytes of peaks, and of positions, that are held in memory."""


@dataclass(frozen=True, slots=True)
class StoredSample:
    """As `PeakSample`, with peaks and positions that may be in files."""

    hashes: Ids
    image_id: Ids
    peak: Rows
    position: Rows

    def columns(self, units: slice) -> PeakSample:
        """The same images, some of the units."""
        rows = np.arange(len(self.hashes))
        return PeakSample(
            self.hashes, self.image_id, self.peak.read(rows, units), self.position.read(rows, units)
        )


def gather_sample(
    parts: Sequence[tuple[Path, Callable[[Ids], Ids]]], units: int, scratch: Path, stack: ExitStack
) -> StoredSample:
    """The images of lowest hash of all parts; peaks are read from the parts that have some of them.

    Args:
        parts: the folder of each part's tables, and what replaces its image_ids by those of the dataset.
        units: of all layers together.
        scratch: folder for files without names, where peaks do not fit into memory.
        stack: closes the sample.

    Raises:
        StoreError: when a part cannot be read, or the disk is full.
    """
    chosen = np.zeros((0, 4), np.int64)  # hash, image_id, number of the part, row in its sample
    for number, (folder, renumber) in enumerate(parts):
        hashes, image_id = read_sample_images(folder)
        found = [hashes, renumber(image_id), np.full(len(hashes), number), np.arange(len(hashes))]
        chosen = np.concatenate([chosen, np.stack(found, axis=1)])
        chosen = chosen[np.lexsort((chosen[:, 1], chosen[:, 0]))[:SAMPLE_SIZE]]
    peak = stack.enter_context(Rows(scratch, units, np.float32, memory=_MEMORY))
    position = stack.enter_context(Rows(scratch, units, np.int32, memory=_MEMORY))
    peak.grow(len(chosen))
    position.grow(len(chosen))
    for number in np.unique(chosen[:, 2]).tolist():
        places = (chosen[:, 2] == number).nonzero()[0]
        wanted = chosen[places, 3]
        for span, peaks, positions in iterate_sample(parts[number][0], units):
            inside = (wanted >= span.start) & (wanted < span.stop)
            rows = wanted[inside] - span.start
            peak.write(places[inside], peaks[rows])
            position.write(places[inside], positions[rows])
    return StoredSample(chosen[:, 0], chosen[:, 1], peak, position)
