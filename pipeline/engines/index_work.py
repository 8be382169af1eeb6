"""Indexing as work: one group of shards is one item, the commit of its part the result."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from pipeline.config import RunConfig
from pipeline.data.dataset import Shard
from pipeline.engines.engine import Calls, Engine, Place
from pipeline.engines.sameness import identify, refuse_blind, refuse_other
from pipeline.errors import EngineError
from pipeline.images.nvjpeg import find_batches, resolve_decoder
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.progress import Reporter, Task
from pipeline.remote.local import local_folder
from pipeline.state.commit import Commit, commit_part
from pipeline.state.part import ShardRecord
from pipeline.store.peak_files import PeakSpill
from pipeline.store.run_file import RUN_FILE
from pipeline.stream.feed import feed
from pipeline.stream.loop import Runner, index_shards, open_runner
from pipeline.working_copies import publish

__all__ = ["IndexWork", "index_groups"]

Group = Sequence[Shard]


@dataclass(frozen=True, slots=True)
class IndexWork:
    """Index groups of shards and commit the part of each.

    Args:
        config: the run.
        network: not changed.
        layers: to probe, in forward order.
        parts: the folder of committed parts.
        fingerprint: of everything but the dataset.
        compiled: whether torch.compile is used.
        size: bytes of all shards that are to be indexed.
        expected: images in them, where that is known or estimated.
        places: files and folders that hold the dataset on this machine.
        identity: see `pipeline.engines.sameness`; empty where the work stays in this process.
        address: of OUT, to which other processes write their parts themselves; empty for a folder.
    """

    config: RunConfig
    network: Network
    layers: Sequence[Layer]
    parts: Path
    fingerprint: str
    compiled: bool
    size: int = 0
    expected: int | None = None
    places: Sequence[Path] = ()
    identity: Mapping[str, str] = field(default_factory=dict)
    address: str = ""

    @contextlib.contextmanager
    def open(self, place: Place) -> Iterator[Calls[Group, Commit]]:
        """The network, hooked or compiled, on the device of the place.

        Raises:
            EngineError: when this process has other code or weights, or does not see the files.
        """
        if self.identity:
            refuse_other(self.identity, identify(self.network.module, place.device), place.node)
        work = self._at_home()
        if self.identity:
            work._refuse_blind(place.node)
        if threads := self.config.threads or place.cores:
            torch.set_num_threads(threads)
        with open_runner(
            self.network, self.layers, work.config, place.device, compiled=self.compiled
        ) as runner:

            def run(items: Sequence[Group], task: Task) -> Iterator[Commit]:
                return work._index(runner, items, place.cores, task)

            yield run

    def label(self, item: Group) -> str:
        """The names of the first and the last shard."""
        return " to ".join(dict.fromkeys(f"shard {shard.name}" for shard in (item[0], item[-1])))

    def _index(
        self, runner: Runner, groups: Sequence[Group], cores: int | None, task: Task
    ) -> Iterator[Commit]:
        """Index groups one after another; each is committed before the next begins.

        Reading and decoding run ahead across the borders of groups, so that the network need not wait
        while a part is written.
        """
        config, expected, images, size = self.config, self.expected, 0, 0
        shards = [shard for group in groups for shard in group]
        preprocess = self.network.preprocess
        decoder = resolve_decoder(config.decoder, runner.device)
        events = feed(
            shards,
            preprocess,
            decoder=decoder,
            workers=config.workers or cores,
            batches=find_batches(decoder, preprocess, runner.device),
        )
        try:
            for group in groups:
                with self._spill() as spill:
                    # The part has no name here, so that it is freed before the next one is made.
                    commit = commit_part(
                        self.parts,
                        index_shards(runner, group, events, task, expected=expected, peaks=spill),
                        self.fingerprint,
                    )
                self._publish(commit)
                images += sum(record.images + record.errors for record in commit.shards)
                size += sum(record.size for record in commit.shards)
                if self.expected is None:
                    expected = round(images / max(size, 1) * self.size)
                yield commit
        finally:
            events.close()

    def _spill(self) -> contextlib.AbstractContextManager[PeakSpill | None]:
        """Where the peaks of a group's images are until its part is committed; None if they are not kept."""
        if self.config.kept_peaks is None:
            return contextlib.nullcontext()
        return PeakSpill(self.parts, sum(layer.units for layer in self.layers), self.config.kept_peaks)

    def _at_home(self) -> IndexWork:
        """This work with a working copy of its own, if OUT is at an address and the work left its process."""
        if not self.address:
            return self
        out = local_folder(self.address, RUN_FILE, cache=self.config.cache)
        return replace(self, config=replace(self.config, out=out), parts=out / "parts")

    def _publish(self, commit: Commit) -> None:
        """Write a part to the address of OUT; processes that do not merge keep no copy."""
        name = commit.path.stem
        publish(self.parts.parent, f"parts/{name}/*", f"parts/{name}.json")
        if self.address:
            commit.path.unlink(missing_ok=True)
            shutil.rmtree(commit.folder, ignore_errors=True)

    def _refuse_blind(self, node: str) -> None:
        """Refuse a machine that does not see OUT or the dataset."""
        run = self.parts.parent / RUN_FILE
        if self.address and not run.exists():
            raise EngineError(
                f"node {node} does not see {self.address}/{RUN_FILE}; every node must reach the same storage "
                "with credentials and endpoint of its own"
            )
        refuse_blind((run, *self.places), node)


def index_groups(
    engine: Engine,
    work: IndexWork,
    groups: Sequence[Group],
    *,
    images_per_byte: float | None,
    reporter: Reporter,
) -> None:
    """Index groups of shards on an engine; each has a committed part in the end.

    Args:
        engine: runs the groups.
        work: what is done with each; its size and number of expected images are set here.
        groups: each sorted by shard name.
        images_per_byte: estimated images per byte of a shard, where it is known.
        reporter: shows shards, images, rate and time left.

    Raises:
        MaxactError: as `index_shards`; parts committed before are kept.
        EngineError: when a process or a node fails for good.
    """
    progress = _Progress([shard for group in groups for shard in group], images_per_byte)
    size = sum(shard.size for shard in progress.waiting.values())
    work = replace(work, size=size, expected=progress.total())
    shards = 0
    with reporter.task("indexing", progress.total(), "images") as task:
        task.tell(shards=shards)
        with contextlib.closing(engine.map(work, groups, task)) as commits:
            for _, commit in commits:
                shards += len(commit.shards)
                task.tell(shards=shards)
                task.expect(progress.after(commit.shards))


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
