"""Adds up the peaks of the labelled images of a group of shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.data.shard import Sample
from pipeline.state import statistics as stats
from pipeline.state.label_sums import HALVES, LabelSums, StoredTotals, half_of
from pipeline.store.rows import IN_MEMORY, Rows

__all__ = ["LabelTotals"]


class LabelTotals:
    """Sums of peaks for each label and half that occur.

    On a GPU they stay on the card. On a CPU they are in a file from a size on: a block of images changes the
    rows of its labels only. Bits do not depend on where they are.

    Args:
        units: of all layers.
        device: where the blocks are.
        scratch: folder for a file without a name.
        memory: bytes from which on the sums are in the file.
    """

    def __init__(self, units: int, device: torch.device, scratch: Path, *, memory: int = IN_MEMORY) -> None:
        self.units, self.device = units, device
        self._number: dict[tuple[str, int], int] = {}
        self._images: list[int] = []
        self._squares = torch.zeros((HALVES, units), dtype=torch.float64, device=device)
        self._rows = Rows(scratch, units, memory=memory)
        self._on_card = torch.zeros((0, units), dtype=torch.float64, device=device)

    def add(self, samples: Sequence[Sample], block: Tensor) -> None:
        """Add the peaks of the images that have a label.

        Args:
            samples: the images.
            block: (image, unit) float32, their peaks.

        Raises:
            StoreError: when the sums are in a file and the disk is full.
        """
        rows, halves, images = [], [], []
        for number, image in enumerate(samples):
            if image.label is None:
                continue
            half = half_of(image)
            row = self._number.setdefault((image.label, half), len(self._number))
            if row == len(self._images):
                self._images.append(0)
            self._images[row] += 1
            rows.append(row)
            halves.append(half)
            images.append(number)
        if not rows:
            return
        labelled = block if len(images) == len(block) else block[images]
        add = self._add_on_card if self.device.type == "cuda" else self._add_to_rows
        add(rows, labelled)
        half_index = torch.tensor(halves, device=self.device)
        for span in stats.column_spans(self.units):
            self._squares[:, span].index_add_(0, half_index, labelled[:, span].double().square_())

    def sums(self) -> LabelSums:
        """What was added. Nothing may be added afterwards."""
        if self.device.type == "cuda":  # pragma: no cover (needs a GPU)
            held = self._on_card[: len(self._images)].cpu().numpy()
            self._on_card = self._on_card[:0].clone()
            self._rows = Rows.holding(held)
        labels = sorted({label for label, _ in self._number})
        place = np.full((HALVES, len(labels)), -1, np.int64)
        images = np.zeros((HALVES, len(labels)), np.int64)
        column = {label: number for number, label in enumerate(labels)}
        for (label, half), row in self._number.items():
            place[half, column[label]] = row
            images[half, column[label]] = self._images[row]
        total = StoredTotals(self._rows, place)
        return LabelSums(tuple(labels), images, total, self._squares.cpu().numpy())

    def _add_to_rows(self, rows: Sequence[int], peaks: Tensor) -> None:
        self._rows.grow(len(self._images))
        changed, index = np.unique(rows, return_inverse=True)
        for span in stats.column_spans(self.units):
            held = torch.from_numpy(self._rows.read(changed, span))
            held.index_add_(0, torch.from_numpy(index), peaks[:, span].double())
            self._rows.write(changed, held.numpy(), span)

    def _add_on_card(self, rows: Sequence[int], peaks: Tensor) -> None:  # pragma: no cover (needs a GPU)
        missing = len(self._images) - len(self._on_card)
        if missing > 0:
            room = max(missing, len(self._on_card) // 2)
            self._on_card = torch.cat([self._on_card, self._on_card.new_zeros((room, self.units))])
        index = torch.tensor(rows, device=self.device)
        for span in stats.column_spans(self.units):
            self._on_card[:, span].index_add_(0, index, peaks[:, span].double())
