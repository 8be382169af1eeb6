"""The sample of images of committed parts, of which a span of units at a time is read."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.state.part_blocks import iterate_sample
from pipeline.state.sample import SAMPLE_SIZE, PeakSample
from pipeline.store.rows import Rows

__all__ = ["SampleChoice", "StoredSample"]

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


class SampleChoice:
    """Chooses the images of lowest hash of all parts."""

    def __init__(self) -> None:
        self._folders: dict[int, Path] = {}
        # hash, image_id, number of the part, row in its sample
        self._chosen = np.zeros((0, 4), np.int64)

    def add(self, number: int, folder: Path, hashes: Ids, image_id: Ids) -> None:
        """Add the images in the sample of a part.

        Args:
            number: of the part, any.
            folder: of its tables.
            hashes: of its images.
            image_id: of the dataset.
        """
        rows = [hashes, image_id, np.full(len(hashes), number), np.arange(len(hashes))]
        chosen = np.concatenate([self._chosen, np.stack(rows, axis=1)])
        self._chosen = chosen[np.lexsort((chosen[:, 1], chosen[:, 0]))[:SAMPLE_SIZE]]
        known = {*self._chosen[:, 2].tolist()}
        self._folders = {each: path for each, path in self._folders.items() if each in known}
        if number in known:
            self._folders[number] = folder

    def read(self, units: int, scratch: Path, stack: ExitStack) -> StoredSample:
        """Read the peaks of the chosen images, from the parts that have some of them.

        Args:
            units: of all layers together.
            scratch: folder for files without names, where peaks do not fit into memory.
            stack: closes the sample.

        Raises:
            StoreError: when a part cannot be read, or the disk is full.
        """
        chosen = self._chosen
        peak = stack.enter_context(Rows(scratch, units, np.float32, memory=_MEMORY))
        position = stack.enter_context(Rows(scratch, units, np.int32, memory=_MEMORY))
        peak.grow(len(chosen))
        position.grow(len(chosen))
        for number, folder in self._folders.items():
            places = (chosen[:, 2] == number).nonzero()[0]
            wanted = chosen[places, 3]
            for span, peaks, positions in iterate_sample(folder, units):
                inside = (wanted >= span.start) & (wanted < span.stop)
                rows = wanted[inside] - span.start
                peak.write(places[inside], peaks[rows])
                position.write(places[inside], positions[rows])
        return StoredSample(chosen[:, 0], chosen[:, 1], peak, position)
