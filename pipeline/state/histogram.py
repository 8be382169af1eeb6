"""Histograms of units while images are added, in 16 bits a bucket where that holds what is counted.

A bucket of a unit rarely has more images than int16 counts: at most one of every 16,384 images can begin
another one. Such counts are carried into a list of their own, so that a part needs 4.6 KB for each unit
whatever the number of its images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.state import statistics as stats

__all__ = ["CarriedCounts", "Histogram"]


@dataclass(frozen=True, slots=True)
class CarriedCounts:
    """Counts of a narrow table, and those that were carried out of it.

    Args:
        table: (unit, BUCKETS) int16.
        cell: (carried,) int64, unit * BUCKETS + bucket, rising.
        count: (carried,) int64, to be added to the table.
        images: that were counted.
    """

    table: npt.NDArray[np.int16]
    cell: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    images: int

    def __len__(self) -> int:
        """The number of units."""
        return len(self.table)

    def __getitem__(self, units: slice) -> stats.Counts:
        """(unit, BUCKETS) counts of a span of units, of the type that the number of images needs."""
        first, last, _ = units.indices(len(self))
        counts: stats.Counts = self.table[first:last].astype(stats.count_type(self.images))
        carried = slice(*np.searchsorted(self.cell, (first * stats.BUCKETS, last * stats.BUCKETS)))
        cells = self.cell[carried] - first * stats.BUCKETS
        counts.reshape(-1)[cells] += self.count[carried].astype(counts.dtype)
        return counts


class Histogram:
    """Counts the peaks of a group of shards, a block at a time.

    Args:
        units: of all layers.
        device: where the blocks are; a GPU counts in int32, which it adds faster.
        most: count that a bucket may reach before it is carried.
    """

    def __init__(self, units: int, device: torch.device, *, most: int = stats.MAX_INT16_IMAGES) -> None:
        kind = torch.int16 if device.type == "cpu" else torch.int32
        self._table = torch.zeros((units, stats.BUCKETS), dtype=kind, device=device)
        self._most = most
        self._bound = self._images = 0
        self._cell = self._count = np.zeros(0, np.int64)

    def add(self, block: Tensor) -> None:
        """Count a block of peaks, (image, unit) float32, finite."""
        if self._table.dtype != torch.int16:
            stats.add_to_histogram(self._table, block)
            return
        room = self._most - self._most // 2
        for first in range(0, len(block), room):
            rows = block[first : first + room]
            if self._bound + len(rows) > self._most:
                self._carry()
            stats.add_to_histogram(self._table, rows)
            self._bound += len(rows)
        self._images += len(block)

    def counts(self) -> stats.Counts | CarriedCounts:
        """What was counted, on the host. Nothing may be added afterwards."""
        table = self._table.cpu().numpy()
        if self._images <= stats.MAX_INT16_IMAGES and not len(self._cell):
            counts: stats.Counts = table
            return counts
        return CarriedCounts(table, self._cell, self._count, self._images)

    def _carry(self) -> None:
        """Carry the counts above half of the bound, and set them to 0: the others have room for a half."""
        half = self._most // 2
        cells, counts = [self._cell], [self._count]
        # A span at a time: which counts are large takes a byte for each.
        for span in stats.column_spans(len(self._table)):
            flat = self._table[span].view(-1)
            large = (flat > half).nonzero().squeeze(1)
            cells.append(large.numpy() + span.start * stats.BUCKETS)
            counts.append(flat[large].to(torch.int64).numpy())
            flat[large] = 0
        self._cell, place = np.unique(np.concatenate(cells), return_inverse=True)
        self._count = np.zeros(len(self._cell), np.int64)
        np.add.at(self._count, place, np.concatenate(counts))
        self._bound = half
