"""Examples for a training: images of an indexed dataset, in a reproducible order.

The dataset is streamed epoch after epoch, with its shards in an order that depends on seed and
epoch, through a buffer of limited size: every training step replaces the oldest images by the next
ones. The content of the buffer and the batch of a step depend only on seed and step. A training that
is resumed at any step therefore sees the same batches as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Generic, TypeVar

import torch
from torch import Tensor

from pipeline.data.shard import Sample
from pipeline.errors import BadImage, RenderingFailed, ShardError
from pipeline.image_id import split_image_id
from pipeline.images.decode import decode
from pipeline.images.preprocess import Preprocess
from pipeline.progress import Reporter
from pipeline.query.index import Index
from viz.seeds import item_generator

__all__ = ["GROUP_IMAGES", "Examples"]

GROUP_IMAGES = 8
"""Images that are read, made into examples and replaced together, as the last bits of what a network
gives for an image depend on the other images of its batch."""

Example = TypeVar("Example")


class Examples(Generic[Example]):
    """A buffer of examples, filled from the dataset of an index.

    Args:
        index: open index, whose dataset is streamed.
        preprocess: makes an image the input of the network.
        make: examples of pictures (image, channel, y, x) uint8, one of each.
        stored: most examples in memory, a multiple of `GROUP_IMAGES`.
        seed: of the order.
    """

    def __init__(
        self,
        index: Index,
        preprocess: Preprocess,
        make: Callable[[Tensor], list[Example]],
        *,
        stored: int,
        seed: int,
    ) -> None:
        self.index, self.preprocess, self.make = index, preprocess, make
        self.stored, self.seed = stored, seed
        rows = index.sql("SELECT shard, count(*) FROM images GROUP BY shard ORDER BY shard").rows
        self.counts: tuple[tuple[str, int], ...] = tuple((str(name), int(n)) for name, n in rows)
        self.total = sum(count for _, count in self.counts)
        self._groups: list[list[Example]] = []
        self._first = 0
        self._stream: Iterator[Tensor | None] = iter(())

    @property
    def identity(self) -> str:
        """SHA-256 of the names of the shards and the numbers of their images."""
        return hashlib.sha256(json.dumps(self.counts).encode()).hexdigest()

    @property
    def complete(self) -> bool:
        """Whether the buffer holds the whole dataset, so that no image is ever replaced."""
        return self.total <= self.stored

    def fill(self, step: int, reporter: Reporter) -> None:
        """Read the images that the buffer contains at a training step.

        Raises:
            RenderError: if no image can be decoded.
            ShardError: if a shard is missing or has lost images since it was indexed.
        """
        self._first = 0 if self.complete else step
        self._stream = self._stream_dataset(self._first * GROUP_IMAGES)
        groups = self.stored // GROUP_IMAGES
        if self.complete:
            self._stream = islice(self._stream, self.total)
            groups = -(-self.total // GROUP_IMAGES)
        self._groups = [[] for _ in range(groups)]
        with reporter.task("read images", min(self.total, self.stored), "images") as task:
            for number in range(self._first, self._first + groups):
                self._groups[number % groups] = self._read_group()
                task.advance(len(self._groups[number % groups]))
        if not any(self._groups):
            raise RenderingFailed(
                f"none of the {self.total:,} images of {self.index.out} can be decoded; "
                f"run `maxact check {self.index.out}`"
            )

    def all(self) -> list[Example]:
        """All examples in the buffer."""
        return [example for group in self._groups for example in group]

    def choose(self, step: int, batch: int) -> list[Example]:
        """Return the batch of a training step.

        Args:
            step: the step of `fill` or a later one.
            batch: number of examples.
        """
        while not self.complete and self._first < step:
            self._groups[self._first % len(self._groups)] = self._read_group()
            self._first += 1
        stored = self.all()
        generator = item_generator(self.seed, "batch of step", step)
        return [stored[place] for place in torch.randint(len(stored), (batch,), generator=generator).tolist()]

    def _read_group(self) -> list[Example]:
        """Make the next group of the stream, without images that cannot be decoded."""
        pictures = [picture for picture in islice(self._stream, GROUP_IMAGES) if picture is not None]
        return self.make(torch.stack(pictures)) if pictures else []

    def _stream_dataset(self, skipped: int) -> Iterator[Tensor | None]:
        """Stream the dataset endlessly after `skipped` images; None stands for one that cannot be decoded."""
        epoch, skipped = divmod(skipped, max(1, self.total))
        while self.counts:
            generator = item_generator(self.seed, "shards of epoch", epoch)
            for number in torch.randperm(len(self.counts), generator=generator).tolist():
                name, count = self.counts[number]
                if skipped < count:
                    yield from self._stream_shard(name, count, skipped)
                skipped = max(0, skipped - count)
            epoch += 1

    def _stream_shard(self, name: str, count: int, skipped: int) -> Iterator[Tensor | None]:
        """Yield the indexed images of a shard as inputs of the network, without the first `skipped`."""
        shard = next((shard for shard in self.index.dataset.shards if shard.name == name), None)
        if shard is None:
            raise ShardError(name, "is no longer part of the dataset; restore it or index again")
        rows = self.index.sql("SELECT image_id FROM images WHERE shard = $name", name=name).rows
        indexed = {split_image_id(image_id)[1] for (image_id,) in rows}
        seen = 0
        for sample in shard.samples():
            if sample.position not in indexed:
                continue
            seen += 1
            if seen > skipped:
                yield self._decode(sample.data) if isinstance(sample, Sample) else None
        if seen < count:
            raise ShardError(
                name, f"contains {seen:,} of {count:,} indexed images; restore it or index again"
            )

    def _decode(self, data: bytes) -> Tensor | None:
        try:
            return decode(data, self.preprocess)
        except BadImage:
            # The decoder of the index may have accepted it.
            return None
