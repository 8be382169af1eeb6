"""The only dataset loop: shards through a network with probes, into a `Part`."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import torch
from torch import Tensor

from pipeline.choices import MemoryFormat, Precision
from pipeline.config import RunConfig
from pipeline.data.dataset import Shard, image_id
from pipeline.errors import TooManyBadImages
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.progress import Task
from pipeline.state.part import Part, ShardRecord
from pipeline.store.schemas import ERRORS, IMAGES
from pipeline.stream.accumulator import Accumulator, ImageRef
from pipeline.stream.compiled_probes import CompiledProbes
from pipeline.stream.feed import Bad, Event, Good
from pipeline.stream.memory import keep_memory, move
from pipeline.stream.probes import Peaks, Probes

__all__ = ["DTYPES", "MEMORY_FORMATS", "Runner", "index_shards", "open_runner", "place_module"]

DTYPES: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
MEMORY_FORMATS: Mapping[MemoryFormat, torch.memory_format] = {
    "channels_last": torch.channels_last,
    "contiguous": torch.contiguous_format,
}

MIN_BAD_IMAGES = 10
"""Bad images in a group of shards that never stop a run, whatever their share."""

_PACKED_ROWS = 4096
"""Rows of the images table that are held as Python objects."""


@dataclass(slots=True)
class Runner:
    """A network that is ready to be shown batches: on its device, hooked or compiled."""

    network: Network
    layers: tuple[Layer, ...]
    config: RunConfig
    device: torch.device
    probes: Probes | CompiledProbes
    accumulator: Accumulator
    _memory: tuple[Tensor, Tensor] | None = None

    def prepare(self, pixels: Sequence[Tensor]) -> Tensor:
        """Normalised input (image, channel, y, x) from uint8 images, on the device.

        On a CPU it lies in memory that the next call overwrites: what is fetched anew from the
        system for every batch costs more than the arithmetic.
        """
        lines = [image.permute(1, 2, 0) for image in pixels]
        if self.device.type == "cpu":
            raw, values = self._buffers(len(lines), lines[0].shape)
            batch = torch.stack(lines, out=raw).permute(0, 3, 1, 2)
            normal = self.network.normalise(batch, out=values)
        else:
            batch = move(torch.stack(lines), self.device).permute(0, 3, 1, 2)
            normal = self.network.normalise(batch)
        return normal.to(
            dtype=DTYPES[self.config.precision],
            memory_format=MEMORY_FORMATS[self.config.memory_format],
        )

    def _buffers(self, count: int, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Memory for a batch: uint8 (image, y, x, channel) and float32 (image, channel, y, x)."""
        if self._memory is None or len(self._memory[0]) < count:
            size = max(count, self.config.batch_size)
            raw = torch.empty((size, *shape), dtype=torch.uint8)
            values = torch.empty((size, shape[0], shape[1], len(self.network.preprocess.mean)))
            self._memory = raw, values.permute(0, 3, 1, 2)
        raw, values = self._memory
        return raw[:count], values[:count]

    def show(self, refs: Sequence[ImageRef], pixels: Sequence[Tensor]) -> None:
        """Run one batch; every probed layer's peaks reach the accumulator."""
        self.accumulator.begin(refs)
        self.probes(self.prepare(pixels))
        self.accumulator.end()


def place_module(network: Network, precision: Precision, memory_format: MemoryFormat) -> torch.nn.Module:
    """A copy of the network's module in that precision and memory format."""
    module: torch.nn.Module = copy.deepcopy(network.module).to(DTYPES[precision])
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=MEMORY_FORMATS[memory_format])
    return module


@contextlib.contextmanager
def open_runner(
    network: Network,
    layers: Sequence[Layer],
    config: RunConfig,
    device: torch.device,
    *,
    compiled: bool,
) -> Iterator[Runner]:
    """Hook or compile a network for the length of the context.

    On a CPU the process keeps the memory it frees from then on, see `pipeline.stream.memory`.

    Args:
        network: left as it was found.
        layers: to probe, in forward order.
        config: the run.
        device: where it runs.
        compiled: whether torch.compile is used.
    """
    if device.type == "cpu":
        keep_memory()
    module = place_module(network, config.precision, config.memory_format).to(device)
    accumulator = Accumulator(layers, config.top, device)
    runner: Runner

    def watch(index: int, peaks: Peaks) -> None:
        runner.accumulator.watch(index, peaks)

    if compiled:
        probes = CompiledProbes(module, layers, watch, config.score, config.batch_size)
        runner = Runner(network, tuple(layers), config, device, probes, accumulator)
        yield runner
        return
    with Probes(module, layers, watch, config.score) as eager:
        runner = Runner(network, tuple(layers), config, device, eager, accumulator)
        yield runner


@dataclass(slots=True)
class _Group:
    """What has been read of one group of shards."""

    ordinals: dict[str, int]
    records: list[ShardRecord] = field(default_factory=list)
    packed: list[pa.Table] = field(default_factory=list)
    images: list[dict[str, object]] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)
    shard_images: int = 0
    shard_errors: int = 0

    def note(self, good: Good) -> ImageRef:
        number = image_id(self.ordinals[good.shard], good.position)
        self.images.append(
            {
                "image_id": number,
                "key": good.key,
                "shard": good.shard,
                "offset": good.offset,
                "bytes": good.size,
                "width": good.width,
                "height": good.height,
                "label": good.label,
                "origin": good.origin,
                "digest": good.digest,
                "phash": good.phash,
                "duplicate_of": None,
            }
        )
        self.shard_images += 1
        if len(self.images) == _PACKED_ROWS:
            self.pack()
        return ImageRef(number, good.shard, good.key, good.position, good.label)

    def pack(self) -> None:
        """Move the rows so far into an Arrow table, which takes a tenth of their memory."""
        self.packed.append(pa.Table.from_pylist(self.images, IMAGES))
        self.images.clear()

    def tables(self) -> tuple[pa.Table, pa.Table]:
        """All images, all errors."""
        self.pack()
        return pa.concat_tables(self.packed), pa.Table.from_pylist(self.errors, ERRORS)

    def note_bad(self, bad: Bad) -> None:
        self.errors.append({"shard": bad.shard, "key": bad.key, "error": bad.error, "message": bad.message})
        self.shard_errors += 1

    def close_shard(self, shard: Shard) -> None:
        self.records.append(
            ShardRecord(shard.name, shard.size, self.shard_images, self.shard_errors, shard.digest)
        )
        self.shard_images = self.shard_errors = 0

    def check_bad(self, allowed: float) -> None:
        """Raises TooManyBadImages when the group's share of bad images is above `allowed`."""
        bad = len(self.errors)
        seen = sum(record.images + record.errors for record in self.records)
        if bad > MIN_BAD_IMAGES and bad > allowed * seen:
            last = self.errors[-1]
            names = dict.fromkeys((min(self.ordinals), max(self.ordinals)))
            raise TooManyBadImages(
                f"{bad} of {seen} images of {' to '.join(names)} "
                f"cannot be used, more than --max-bad-fraction {allowed:g}; the last is "
                f"{last['key']!r}: {last['message']}. Look at the dataset, or raise the fraction"
            )


def index_shards(runner: Runner, shards: Sequence[Shard], events: Iterable[Event], task: Task) -> Part:
    """Show one group of shards to the network.

    Batches do not cross shards, so what a shard adds does not depend on the others.

    Args:
        runner: the network.
        shards: the group, sorted by name.
        events: of exactly these shards, in that order; read up to the last `ShardEnd`.
        task: advanced by one per sample.

    Raises:
        ShardError: when a shard is damaged.
        ActivationError: on NaN or infinity.
        TooManyBadImages: when the group is going wrong.
    """
    group = _Group({shard.name: ordinal for ordinal, shard in enumerate(shards)})
    runner.accumulator = Accumulator(runner.layers, runner.config.top, runner.device)
    refs: list[ImageRef] = []
    pixels: list[Tensor] = []

    def show() -> None:
        if refs:
            runner.show(refs, pixels)
            task.advance(len(refs))
            refs.clear()
            pixels.clear()

    for event in events:
        if isinstance(event, Good):
            refs.append(group.note(event))
            pixels.append(event.pixels)
            if len(refs) == min(runner.config.batch_size, runner.accumulator.room()):
                show()
        elif isinstance(event, Bad):
            group.note_bad(event)
            task.advance()
        else:
            show()
            runner.accumulator.flush()
            group.close_shard(event.shard)
            task.describe(event.shard.name)
            if len(group.records) == len(shards):
                break
    group.check_bad(runner.config.max_bad_fraction)
    state = runner.accumulator.finish()
    return Part(
        tuple(group.records),
        state.high,
        state.low,
        state.moments,
        state.histogram,
        state.labels,
        state.sample,
        *group.tables(),
    )
