"""Accumulates the peaks of one group of shards into the `UnitState` of its part.

The units of all layers share one axis, so that statistics and lists are updated for all of them at
once: statistics after a block of images, the top-k lists after a batch. Only grid positions are
looked up layer by layer, while a layer's output is alive.

Everything stays on the network's device until the group ends. On a GPU all positions are found and
all lists are updated, with fixed shapes, so that no layer waits for the host. On a CPU only peaks
that enter a list are located, and only the lists that change are updated.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipeline.data.shard import Sample
from pipeline.errors import ActivationError, UsageError
from pipeline.layers.layer import Layer
from pipeline.state import statistics as stats
from pipeline.state import topk
from pipeline.state.sample import SAMPLE_SIZE, PeakSample, image_hash
from pipeline.state.topk import NO_IMAGE, Ranked
from pipeline.state.unit_state import UnitState
from pipeline.store.peak_files import PEAK_TYPES, PeakSpill
from pipeline.stream.label_totals import LabelTotals
from pipeline.stream.memory import move
from pipeline.stream.predictions import Predictions
from pipeline.stream.probes import Peaks

__all__ = ["BLOCK_IMAGES", "MAX_GROUP_IMAGES", "Accumulator"]

BLOCK_IMAGES = 1024
"""Images whose peaks are held before they are added to the statistics; blocks do not depend on the
batch size, so neither do the statistics."""

MAX_GROUP_IMAGES = (1 << 31) - 1
"""Images that the int32 histograms of one group can count."""


@dataclass(slots=True)
class _Lists:
    """One side of all layers.

    Args:
        sign: 1 where the highest peaks are kept, -1 where the lowest are.
        keys: (unit, k) int64, packed.
        positions: (unit, k) int32, flat.
        floor: (unit,) float32, the k-th best score; an image enters the list above it.
    """

    sign: int
    keys: Tensor
    positions: Tensor
    floor: Tensor


class Accumulator:
    """Collects the peaks of one group of shards.

    Args:
        layers: the probed layers, in the order in which the watcher is called.
        k: images kept per unit and side.
        device: where the network runs.
        peaks: to which the peaks of every image are added, in the order of images.
        scratch: folder for sums that do not fit into memory; the system's by default.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        k: int,
        device: torch.device,
        *,
        peaks: PeakSpill | None = None,
        scratch: Path | None = None,
    ) -> None:
        self.layers = tuple(layers)
        self.peaks = peaks
        self.device = device
        self.offsets = np.cumsum([0, *(layer.units for layer in layers)])
        self.units = int(self.offsets[-1])
        self._lists = tuple(
            _Lists(
                sign,
                topk.empty_keys(self.units, k, device),
                torch.zeros((self.units, k), dtype=torch.int32, device=device),
                torch.full((self.units,), -torch.inf, device=device),
            )
            for sign in (1, -1)
        )
        self._predictions = Predictions(self.layers[-1])
        self._images: list[int] = []
        self._block = torch.empty((BLOCK_IMAGES, self.units), device=device)
        self._block_samples: list[Sample] = []
        self._moments = stats.Moments.empty(self.units)
        # A GPU adds to int32 faster, and memory is not short there.
        counts = torch.int16 if device.type == "cpu" else torch.int32
        self._histogram = torch.zeros((self.units, stats.BUCKETS), dtype=counts, device=device)
        self._labels = LabelTotals(self.units, device, scratch or Path(tempfile.gettempdir()))
        self._sample_hashes: list[int] = []
        self._sample_images: list[int] = []
        self._sample_peak = torch.empty((SAMPLE_SIZE, self.units), device=device)
        self._sample_position = torch.empty((SAMPLE_SIZE, self.units), dtype=torch.int32, device=device)
        self._batch_samples: tuple[Sample, ...] = ()
        self._numbers = torch.empty(0, dtype=torch.int64, device=device)
        self._positions = torch.empty((0, self.units), dtype=torch.int32, device=device)
        self._sampled = torch.empty(0, dtype=torch.int64, device=device)
        self._slots = torch.empty(0, dtype=torch.int64, device=device)

    def begin(self, samples: Sequence[Sample]) -> None:
        """Begin a batch of these images, in rising order of image_id.

        Raises:
            UsageError: when the group has more than `MAX_GROUP_IMAGES`.
        """
        if len(self._block_samples) + len(samples) > BLOCK_IMAGES:
            raise AssertionError("a batch must not cross a block")
        self._batch_samples = tuple(samples)
        first = len(self._images)
        if first + len(samples) > MAX_GROUP_IMAGES:
            raise UsageError(
                f"one part would have more than {MAX_GROUP_IMAGES:,} images; give a smaller --shards-per-part"
            )
        self._numbers = torch.arange(first, first + len(samples), device=self.device)
        self._images.extend(sample.image_id for sample in samples)
        if len(self._positions) < len(samples):
            self._positions = self._positions.new_zeros((len(samples), self.units))
        self._choose_sampled(samples)

    def watch(self, index: int, peaks: Peaks) -> None:
        """Take the peaks of a layer or of a span of its units; images beyond those of `begin` are padding."""
        peaks = peaks.first(len(self._batch_samples))
        first = int(self.offsets[index]) + peaks.first_unit
        columns = slice(first, first + peaks.values.shape[1])
        self._batch()[:, columns] = peaks.values
        positions = self._positions[: len(self._batch_samples), columns]
        locate = self._locate_all if self.device.type == "cuda" else self._locate_wanted
        locate(peaks, columns, positions)

    def end(self) -> None:
        """End the batch; statistics are updated when a block is full.

        Raises:
            ActivationError: on NaN or infinity, naming layer, unit and image.
        """
        values, positions = self._batch(), self._positions[: len(self._batch_samples)]
        update = self._update_dense if self.device.type == "cuda" else self._update_entrants
        for lists in self._lists:
            update(lists, values, positions)
        self._predictions.add(values[:, int(self.offsets[-2]) :])
        if len(self._sampled):
            self._sample_peak[self._slots] = values[self._sampled]
            self._sample_position[self._slots] = positions[self._sampled]
        self._block_samples.extend(self._batch_samples)
        self._batch_samples = ()
        if len(self._block_samples) == BLOCK_IMAGES:
            self.flush()

    def room(self) -> int:
        """Images that still fit the current block."""
        return BLOCK_IMAGES - len(self._block_samples)

    def flush(self) -> None:
        """Add the block to the statistics; called at the end of every shard.

        Raises:
            ActivationError: on NaN or infinity, or what float16 cannot hold where peaks are kept so,
                naming layer, unit and image.
            StoreError: when peaks are kept and the disk is full.
        """
        if not self._block_samples:
            return
        block = self._block[: len(self._block_samples)]
        self._refuse_infinite(
            block,
            block,
            "the cause is the weights or the precision: check the weights, or use --precision fp32",
        )
        if self.peaks is not None:
            self._keep(self.peaks, block)
        self._moments = stats.merge_moments(self._moments, stats.block_moments(block))
        if self._histogram.dtype == torch.int16 and len(self._images) > stats.MAX_INT16_IMAGES:
            self._histogram = self._histogram.to(torch.int32)
        stats.add_to_histogram(self._histogram, block)
        self._labels.add(self._block_samples, block)
        self._block_samples = []

    def finish(self) -> UnitState:
        """The group's state, on the host."""
        self.flush()
        self._block = self._block[:0].clone()  # its memory is used for what follows
        ids = np.array(self._images, np.int64)
        high, low = (self._ranked(lists, ids) for lists in self._lists)
        return UnitState(
            high,
            low,
            self._moments,
            self._histogram.cpu().numpy(),
            self._labels.sums(),
            self._sample(),
        )

    def predictions(self) -> dict[str, pa.Array]:
        """What the last layer predicts for each image; see `pipeline.stream.predictions`."""
        return self._predictions.columns()

    def _batch(self) -> Tensor:
        """The rows of the block that belong to the batch, (image, unit)."""
        row = len(self._block_samples)
        return self._block[row : row + len(self._batch_samples)]

    def _locate_all(self, peaks: Peaks, columns: slice, positions: Tensor) -> None:
        positions.copy_(peaks.locate_all())

    def _locate_wanted(self, peaks: Peaks, columns: slice, positions: Tensor) -> None:
        """Find the positions of peaks that may enter a list, and of the sampled images."""
        high, low = self._lists
        wanted = peaks.values > high.floor[columns]
        wanted |= peaks.values < -low.floor[columns]
        if len(self._sampled):
            wanted[self._sampled] = True
        images, units = wanted.nonzero(as_tuple=True)
        if len(units):
            positions[images, units] = peaks.locate(images, units).to(torch.int32)

    def _update_entrants(self, lists: _Lists, values: Tensor, positions: Tensor) -> None:
        for span in stats.column_spans(self.units):
            floor = lists.floor[span]
            scores = values[:, span] if lists.sign > 0 else -values[:, span]
            units, keys, origin = topk.entrants(lists.keys[span], floor, scores, self._numbers)
            if not len(units):
                continue
            fresh = positions[:, span].index_select(1, units).T
            both = torch.cat([lists.positions[span].index_select(0, units), fresh], dim=1)
            lists.keys[span][units] = keys
            lists.positions[span][units] = both.gather(1, origin)
            floor[units] = topk.unpack(keys[:, -1])[0]

    def _update_dense(self, lists: _Lists, values: Tensor, positions: Tensor) -> None:
        scores = values if lists.sign > 0 else -values
        both = torch.cat([lists.keys, topk.pack(scores.T, self._numbers)], dim=1)
        best = torch.topk(both, lists.keys.shape[1], dim=1)
        lists.keys = best.values
        lists.positions = torch.cat([lists.positions, positions.T], dim=1).gather(1, best.indices)
        lists.floor = topk.unpack(best.values[:, -1])[0]

    def _choose_sampled(self, samples: Sequence[Sample]) -> None:
        """Assign slots to the images of the batch whose hashes are among the lowest so far."""
        old = list(enumerate(self._sample_hashes))
        new = [(image_hash(image.shard, image.position), row) for row, image in enumerate(samples)]
        floor = max(self._sample_hashes) if len(old) == SAMPLE_SIZE else None
        new = [item for item in new if floor is None or item[0] < floor]
        ranked = sorted(
            [(value, -1, slot) for slot, value in old] + [(value, row, -1) for value, row in new]
        )[:SAMPLE_SIZE]
        kept = {slot for _, row, slot in ranked if row < 0}
        free = [slot for slot, _ in old if slot not in kept]
        free += range(len(old), SAMPLE_SIZE)
        rows, slots = [], []
        for (value, row, _), slot in zip((r for r in ranked if r[1] >= 0), free, strict=False):
            rows.append(row)
            slots.append(slot)
            if slot == len(self._sample_hashes):
                self._sample_hashes.append(value)
                self._sample_images.append(samples[row].image_id)
            else:
                self._sample_hashes[slot] = value
                self._sample_images[slot] = samples[row].image_id
        self._sampled = move(torch.tensor(rows, dtype=torch.int64), self.device)
        self._slots = move(torch.tensor(slots, dtype=torch.int64), self.device)

    def _keep(self, spill: PeakSpill, block: Tensor) -> None:
        """Add the block's peaks to those that are kept of all images; -0.0 becomes 0.0."""
        kept = block + 0.0
        if spill.kind == PEAK_TYPES["float16"]:
            kept = kept.to(torch.float16)
            self._refuse_infinite(kept, block, "float16 holds up to 65504: use --keep peaks=float32")
        spill.add(kept.cpu().numpy())

    def _refuse_infinite(self, stored: Tensor, block: Tensor, remedy: str) -> None:
        """Raise for the first peak of a block that is not finite as it is stored."""
        finite = [stored[:, span].isfinite().all() for span in stats.column_spans(self.units)]
        if bool(torch.stack(finite).all()):
            return
        row, column = (int(number) for number in (~stored.isfinite()).nonzero()[0])
        layer = int(np.searchsorted(self.offsets, column, side="right")) - 1
        image = self._block_samples[row]
        raise ActivationError(
            f"layer {self.layers[layer].name} unit {column - int(self.offsets[layer])} gives "
            f"{float(block[row, column])} for image {image.key!r} of shard {image.shard}; {remedy}"
        )

    def _sample(self) -> PeakSample:
        order = np.argsort(np.array(self._sample_hashes, np.int64), kind="stable")
        return PeakSample(
            np.array(self._sample_hashes, np.int64)[order],
            np.array(self._sample_images, np.int64)[order],
            self._sample_peak.cpu().numpy()[order],
            self._sample_position.cpu().numpy()[order],
        )

    def _ranked(self, lists: _Lists, ids: np.ndarray) -> Ranked:
        scores, numbers = topk.unpack(lists.keys.cpu())
        rows = numbers.numpy()
        image_id = np.where(rows < 0, NO_IMAGE, np.append(ids, NO_IMAGE)[rows])
        positions = lists.positions.cpu().numpy()
        return Ranked(scores.numpy(), image_id, np.where(rows < 0, 0, positions))
