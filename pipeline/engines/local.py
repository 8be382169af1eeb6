"""The engine that runs in this process: one network, one reader, a pool of decoders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.config import RunConfig
from pipeline.feed import feed
from pipeline.index import index_shards, open_runner
from pipeline.layers import Layer
from pipeline.networks import Network
from pipeline.parts import commit_part
from pipeline.progress import Reporter
from pipeline.sources import Shard

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
    reporter: Reporter,
) -> None:
    """Index groups of shards one after another; each is committed before the next begins.

    Reading and decoding run ahead across the borders of groups, so the network does not wait
    while a part is written.

    Args:
        config: the run.
        network: left as it was found.
        layers: to probe, in forward order.
        groups: each sorted by shard name.
        parts: the folder of committed parts.
        fingerprint: of everything but the dataset.
        device: where the network runs.
        compiled: whether torch.compile is used.
        reporter: shown images, rate and time left.

    Raises:
        MaxactError: as `index_shards` does; what was committed before stays.
    """
    shards = [shard for group in groups for shard in group]
    hints = [shard.count_hint for shard in shards]
    total = sum(hint for hint in hints if hint is not None) if None not in hints else None
    events = feed(
        shards, network.preprocess, decoder=config.decoder, workers=config.workers
    )
    try:
        with (
            open_runner(network, layers, config, device, compiled=compiled) as runner,
            reporter.task("indexing", total, "images") as task,
        ):
            for group in groups:
                commit_part(parts, index_shards(runner, group, events, task), fingerprint)
    finally:
        events.close()
