"""The dataset loop: runs shards through a network with probes and returns their `Part`."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.choices import MemoryFormat, Precision
from pipeline.config import RunConfig
from pipeline.data.shard import BadSample, Sample, Shard
from pipeline.devices import resolve_precision
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.networks.plain_modules import refuse_precision
from pipeline.progress import Task
from pipeline.state.part import Part
from pipeline.store.peak_files import PeakSpill
from pipeline.stream.accumulator import Accumulator
from pipeline.stream.compiled_probes import CompiledProbes
from pipeline.stream.feed import Event
from pipeline.stream.group import GroupRecords
from pipeline.stream.memory import keep_memory, move
from pipeline.stream.probes import Peaks, Probes

__all__ = ["DTYPES", "MEMORY_FORMATS", "Runner", "index_shards", "open_runner", "place_module"]

DTYPES: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
MEMORY_FORMATS: Mapping[MemoryFormat, torch.memory_format] = {
    "channels_last": torch.channels_last,
    "contiguous": torch.contiguous_format,
}


@dataclass(slots=True)
class Runner:
    """A network that is ready to run batches: on its device, hooked or compiled."""

    network: Network
    layers: tuple[Layer, ...]
    config: RunConfig
    device: torch.device
    probes: Probes | CompiledProbes
    _accumulator: Accumulator | None = None
    _buffer: tuple[Tensor, Tensor] | None = None

    def prepare(self, pixels: Sequence[Tensor]) -> Tensor:
        """Normalised input (image, channel, y, x) from uint8 images, on the device.

        On a CPU it is a buffer that the next call overwrites: to allocate one for every batch
        costs more than the arithmetic.
        """
        lines = [image.permute(1, 2, 0) for image in pixels]
        if self.device.type == "cpu":
            raw, values = self._buffers(len(lines), lines[0].shape)
            batch = torch.stack(lines, out=raw).permute(0, 3, 1, 2)
            normal = self.network.normalise(batch, out=values)
        elif any(line.device == self.device for line in lines):  # pragma: no cover (needs a GPU)
            # Decoded there, but for those left to PIL.
            here = [line if line.device == self.device else move(line, self.device) for line in lines]
            for line in here:
                line.record_stream(torch.cuda.current_stream(self.device))
            batch = torch.stack(here).permute(0, 3, 1, 2)
            normal = self.network.normalise(batch)
        else:  # pragma: no cover (needs a GPU)
            batch = move(torch.stack(lines), self.device).permute(0, 3, 1, 2)
            normal = self.network.normalise(batch)
        return normal.to(
            dtype=DTYPES[resolve_precision(self.config.precision, self.device)],
            memory_format=MEMORY_FORMATS[self.config.memory_format],
        )

    def _buffers(self, count: int, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Memory for a batch: uint8 (image, y, x, channel) and float32 (image, channel, y, x)."""
        if self._buffer is None or len(self._buffer[0]) < count:
            size = max(count, self.config.batch_size)
            raw = torch.empty((size, *shape), dtype=torch.uint8)
            values = torch.empty((size, shape[0], shape[1], len(self.network.preprocess.mean)))
            self._buffer = raw, values.permute(0, 3, 1, 2)
        raw, values = self._buffer
        return raw[:count], values[:count]

    def run(self, accumulator: Accumulator, samples: Sequence[Sample], pixels: Sequence[Tensor]) -> None:
        """Run one batch and add every probed layer's peaks to an accumulator.

        Args:
            accumulator: of the runner's layers, on its device.
            samples: the images of the batch, in rising order of image_id.
            pixels: (channel, y, x) uint8 of each.
        """
        accumulator.begin(samples)
        self._accumulator = accumulator
        self.probes(self.prepare(pixels))
        self._accumulator = None  # so that a finished group's arrays are freed
        accumulator.end()

    def watch(self, index: int, peaks: Peaks) -> None:
        """The probes' watcher: pass one layer's peaks on to the batch's accumulator."""
        assert self._accumulator is not None
        self._accumulator.watch(index, peaks)


def place_module(network: Network, precision: Precision, memory_format: MemoryFormat) -> torch.nn.Module:
    """A copy of the network's module in that precision and memory format.

    Raises:
        NetworkError: if the module does not compute in that precision.
    """
    refuse_precision(network.module, DTYPES[precision])
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
        network: not changed.
        layers: to probe, in forward order.
        config: the run.
        device: where it runs.
        compiled: whether torch.compile is used.
    """
    if device.type == "cpu":
        keep_memory()
    precision = resolve_precision(config.precision, device)
    module = place_module(network, precision, config.memory_format).to(device)
    runner: Runner

    def watch(index: int, peaks: Peaks) -> None:
        runner.watch(index, peaks)

    if compiled:
        probes = CompiledProbes(module, layers, watch, config.score, config.batch_size)
        runner = Runner(network, tuple(layers), config, device, probes)
        yield runner
        return
    with Probes(module, layers, watch, config.score, spans=True) as eager:
        runner = Runner(network, tuple(layers), config, device, eager)
        yield runner


def index_shards(
    runner: Runner,
    shards: Sequence[Shard],
    events: Iterable[Event],
    task: Task,
    *,
    expected: int | None = None,
    peaks: PeakSpill | None = None,
) -> Part:
    """Run one group of shards through the network.

    Batches do not cross shards, so what a shard adds does not depend on the others.

    Args:
        runner: the network.
        shards: the group, sorted by name.
        events: of exactly these shards, in that order; read up to the last `ShardEnd`.
        task: advanced after every batch, by its samples and the bad ones before them.
        expected: images of the whole run, if their number is known.
        peaks: an empty one, where the peaks of all images are kept; becomes part of the result.

    Raises:
        ShardError: when a shard is damaged.
        ActivationError: on NaN or infinity, or what the number format of kept peaks cannot hold.
        StoreError: when the disk is full, where peaks are kept or sums per label are many.
        TooManyBadImages: when more images are bad than the configuration allows.
    """
    records = GroupRecords(shards)
    scratch = runner.config.out / "parts"
    accumulator = Accumulator(runner.layers, runner.config.top, runner.device, peaks=peaks, scratch=scratch)
    batch: list[Sample] = []
    pixels: list[Tensor] = []
    bad = 0

    def run_batch() -> None:
        nonlocal bad
        if batch:
            runner.run(accumulator, batch, pixels)
        if batch or bad:
            # One step with the bad samples before it: steps of different length spoil the rate.
            task.advance(len(batch) + bad)
        batch.clear()
        pixels.clear()
        bad = 0

    for event in events:
        if isinstance(event, Sample):
            assert event.pixels is not None
            batch.append(records.add(event))
            pixels.append(event.pixels)
            if len(batch) == min(runner.config.batch_size, accumulator.room()):
                run_batch()
        elif isinstance(event, BadSample):
            records.add_bad(event)
            bad += 1
        else:
            run_batch()
            accumulator.flush()
            records.end_shard(event.shard, event.content, event.stamp)
            task.describe(event.shard.name)
            if len(records.shards) == len(shards):
                break
    records.check_bad(runner.config.max_bad_fraction, expected)
    images, errors = records.tables(accumulator.predictions())
    return Part(tuple(records.shards), accumulator.finish(), images, errors, peaks)
