"""The engine that runs in this process: one network, one reader, a pool of decoding threads."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.config import RunConfig
from pipeline.data.dataset import Shard
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.progress import Reporter
from pipeline.state.commit import commit_part
from pipeline.state.part import ShardRecord
from pipeline.store.peak_files import PeakSpill
from pipeline.stream.feed import feed
from pipeline.stream.loop import index_shards, open_runner

__all__ = ["run_groups"]


def run_groups(
    config: RunConfig,
    network: Network,
    layers: Sequence[Layer],
    groups: Sequence[Sequence[Shard]],
    parts: Path,
    fingerprint: str,
    *,
    device: torch.device,
    compiled: bool,
    images_per_byte: float | None,
    reporter: Reporter,
) -> None:
    """Index groups of shards one after another; each is committed before the next begins.

    Reading and decoding run ahead across the borders of groups, so that the network need not wait
    while a part is written.

    Args:
        config: the run.
        network: not changed.
        layers: to probe, in forward order.
        groups: each sorted by shard name.
        parts: the folder of committed parts.
        fingerprint: of everything but the dataset.
        device: where the network runs.
        compiled: whether torch.compile is used.
        images_per_byte: estimated images per byte of a shard, where it is known.
        reporter: shows images, rate and time left.

    Raises:
        MaxactError: as `index_shards`; parts committed before are kept.
    """
    shards = [shard for group in groups for shard in group]
    progress = _Progress(shards, images_per_byte)
    events = feed(shards, network.preprocess, decoder=config.decoder, workers=config.workers)
    try:
        with (
            open_runner(network, layers, config, device, compiled=compiled) as runner,
            reporter.task("indexing", expected := progress.total(), "images") as task,
        ):
            for group in groups:
                with _spill(config, layers, parts) as spill:
                    # The part has no name here, so that it is freed before the next one is made.
                    commit = commit_part(
                        parts,
                        index_shards(runner, group, events, task, expected=expected, peaks=spill),
                        fingerprint,
                    )
                expected = progress.after(commit.shards)
                task.expect(expected)
    finally:
        events.close()


def _spill(
    config: RunConfig, layers: Sequence[Layer], parts: Path
) -> contextlib.AbstractContextManager[PeakSpill | None]:
    """Where the peaks of a group's images are held until its part is committed; None if they are not kept."""
    if config.kept_peaks is None:
        return contextlib.nullcontext()
    return PeakSpill(parts, sum(layer.units for layer in layers), config.kept_peaks)


class _Progress:
    """Estimates the number of images in all shards, updated with every group that is read."""

    def __init__(self, shards: Sequence[Shard], images_per_byte: float | None) -> None:
        self.waiting = {shard.name: shard for shard in shards}
        self.images_per_byte = images_per_byte
        self.samples = self.bytes = 0

    def total(self) -> int | None:
        """Samples read so far plus the estimate for the waiting shards."""
        hints = [shard.count_hint for shard in self.waiting.values()]
        known = sum(hint for hint in hints if hint is not None)
        unknown = sum(shard.size for shard in self.waiting.values() if shard.count_hint is None)
        if not unknown:
            return self.samples + known
        if self.images_per_byte is None:
            return None
        return self.samples + known + round(unknown * self.images_per_byte)

    def after(self, read: Sequence[ShardRecord]) -> int | None:
        """The estimate after these shards have been read."""
        for record in read:
            del self.waiting[record.name]
            self.samples += record.images + record.errors
            self.bytes += record.size
        if self.samples:
            self.images_per_byte = self.samples / max(self.bytes, 1)
        return self.total()
