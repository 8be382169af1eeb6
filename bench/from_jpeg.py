"""Does indexing from JPEG files run as fast as the slower of decoding and the network?

    python bench/from_jpeg.py [--images 512] [--rounds 5] [--workers 1] [--data FOLDER]

Uses one torch thread and `--workers` decoding threads, and therefore needs two idle cores. There are
two cases: the network is the slower side (EfficientNet-Lite0), or decoding is (a network of one
convolution). Measured in one process, interleaved:

- decode: reading and decoding files with `--workers` threads;
- bare: the forward pass over batches of decoded images, without probes;
- probed: the same with probes and top-k lists, as in indexing (bench/index.py measures the cost of
  probes);
- index: `run_index` over the files, from its first batch to its last. Loading the network and
  merging the parts are not included, because their time does not depend on the number of images. All
  images are in one part, which is committed after the last batch: by default a part of so few images would
  have one shard, of 64 (bench/resume.py measures what commits cost).

The target is index / min(decode, probed) of at least 0.9: both sides run at the same time, and
what is beside them costs at most a tenth. `index / bare` compares with the network that is not probed,
or with decoding if that is slower. It cannot be above probed / bare, and probes are not compiled here; long
runs compile the network together with its probes, which is then faster than the bare pass (bench/index.py).

`ms of CPU` is the processor time per image of the thread that runs the network, in the probed pass and while
indexing; waiting and decoding are not in it. Other work on the machine affects it less than the rates.

The best round counts, because other work on the machine can only slow it down; the last column states
how many cores that work kept busy meanwhile. A case that misses the target while that was more than
a tenth of a core is not judged. The exit code is 1 if one misses it otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.progress import SilentTask

SIZE = (500, 375)
"""Width and height of most of ImageNet's photographs, in pixels."""

QUALITY = 95
SIDE = 224
TARGET = 0.9
QUIET = 0.1
"""Cores that other work may keep busy."""


@dataclass(frozen=True, order=True, slots=True)
class Rate:
    """Images per second, and milliseconds of processor time of this thread per image."""

    images: float
    cpu: float


class Stopwatch(SilentTask):
    """A reporter that records the number of finished images over time."""

    def __init__(self) -> None:
        self.moments: list[tuple[float, float, int]] = []

    def note(self, text: str) -> None: ...

    @contextlib.contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Iterator[Stopwatch]:
        self.title = title
        yield self

    def advance(self, count: int = 1) -> None:
        if self.title == "indexing":
            done = self.moments[-1][2] if self.moments else 0
            self.moments.append((time.perf_counter(), time.thread_time(), done + count))

    def rate(self) -> Rate:
        (start, began, first), (end, ended, last) = self.moments[0], self.moments[-1]
        return Rate((last - first) / (end - start), 1000 * (ended - began) / (last - first))


def write_files(folder: Path, count: int, data: str | None) -> list[Path]:
    """Write `count` JPEG files of a dataset; by default the demo, resized to ImageNet's usual size."""
    import io

    from PIL import Image

    from pipeline.data.dataset import Sample, open_dataset

    dataset = open_dataset((data or "demo",), cache=Path("out/cache"))
    samples = (sample for shard in dataset.shards for sample in shard.samples())
    images = [sample.data for sample in samples if isinstance(sample, Sample)][:count]
    if data is None:
        for number, image in enumerate(images):
            file = io.BytesIO()
            resized = Image.open(io.BytesIO(image)).convert("RGB").resize(SIZE, Image.BICUBIC)
            resized.save(file, "JPEG", quality=QUALITY)
            images[number] = file.getvalue()
    paths = [folder / f"{number:06}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(images[number % len(images)])
    return paths


def make_network(mode: str):
    """Load the network of a case, and name the layers to index."""
    import torch
    from torch import nn

    from pipeline.images.preprocess import Preprocess
    from pipeline.networks.network import Network, load_network

    if mode == "network":
        return load_network("efficientnet_lite0"), ()
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 7, stride=7), nn.ReLU())
    return Network.from_module(module, Preprocess(SIDE, SIDE, 256), name=mode), ("0",)


def decode_rate(paths: list[Path], network, workers: int) -> float:
    from pipeline.images.decode import decode

    def one(path: Path) -> None:
        decode(path.read_bytes(), network.preprocess)

    started = time.perf_counter()
    if workers == 1:
        for path in paths:
            one(path)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(one, paths))
    return len(paths) / (time.perf_counter() - started)


def network_rate(pixels, network, layers, batch: int, *, probed: bool) -> Rate:
    """Measure the rate of the forward pass over decoded images, with or without probes and lists."""
    import torch

    from pipeline.config import RunConfig
    from pipeline.data.shard import Sample
    from pipeline.layers.choose import choose_layers
    from pipeline.stream.accumulator import Accumulator
    from pipeline.stream.loop import open_runner

    chosen = choose_layers(network, layers, receptive_fields=False)
    config = RunConfig(data=("bench",), out=Path("unused"), batch_size=batch)
    with open_runner(network, chosen, config, torch.device("cpu"), compiled=False) as runner:
        accumulator = Accumulator(chosen, config.top, runner.device)
        if not probed:
            runner.probes.__exit__(None, None, None)

        def show(first: int) -> None:
            images = pixels[first : first + batch]
            if probed:
                samples = [
                    Sample(str(row), None, first + row, 0, b"", shard="bench", image_id=first + row)
                    for row in range(len(images))
                ]
                runner.run(accumulator, samples, images)
            else:
                runner.probes.module(runner.prepare(images))

        with torch.inference_mode():
            show(0)
            started, began = time.perf_counter(), time.thread_time()
            for first in range(batch, len(pixels), batch):
                show(first)
            count = len(pixels) - batch
            cpu = 1000 * (time.thread_time() - began) / count
            return Rate(count / (time.perf_counter() - started), cpu)


def index_rate(folder: Path, network, layers, arguments) -> Rate:
    from pipeline.config import RunConfig
    from pipeline.runs.run import run_index

    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as out:
        config = RunConfig(
            data=(str(folder),),
            out=Path(out),
            layers=layers,
            shards_per_part=arguments.images,  # more than there are shards
            compile="off",
            workers=arguments.workers,
            threads=1,
            batch_size=arguments.batch,
        )
        run_index(config, network=network, reporter=watch)
    return watch.rate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--data", help="default: the demo dataset")
    parser.add_argument("--modes", default="network,decode")
    arguments = parser.parse_args()
    if unknown := set(arguments.modes.split(",")) - {"network", "decode"}:
        parser.error(f"no mode {', '.join(sorted(unknown))}; there are network, decode")

    import torch

    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, {arguments.images} images, {arguments.workers} decoding "
        f"thread(s), {os.cpu_count()} cores, {platform.machine()}\n"
    )
    print(
        "| slower side | decode | bare | probed | index, images/s | index / min(decode, probed) "
        "| index / min(decode, bare) | probed, ms of CPU | index, ms of CPU | cores busy elsewhere |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    missed, busy = [], []
    with tempfile.TemporaryDirectory() as folder:
        paths = write_files(Path(folder), arguments.images, arguments.data)
        for mode in arguments.modes.split(","):
            ratio, cores = measure(mode, Path(folder), paths, arguments)
            if ratio < TARGET:
                (busy if cores > QUIET else missed).append(mode)
    if busy:
        print(f"\nBelow {TARGET} and not judged, because other work was running: {', '.join(busy)}.")
    sys.exit(f"below {TARGET}: {', '.join(missed)}" if missed else 0)


def measure(mode: str, folder: Path, paths: list[Path], arguments) -> tuple[float, float]:
    """Measure one case and print its row; the ratio that has a target, and the cores busy elsewhere."""
    from pipeline.images.decode import decode

    network, layers = make_network(mode)
    pixels = [decode(path.read_bytes(), network.preprocess) for path in paths]
    rounds = []
    for _ in range(arguments.rounds):
        decoding = decode_rate(paths, network, arguments.workers)
        bare, probed = (
            network_rate(pixels, network, layers, arguments.batch, probed=probed) for probed in (False, True)
        )
        with Elsewhere() as elsewhere:
            indexing = index_rate(folder, network, layers, arguments)
        rounds.append((indexing, decoding, bare, probed, elsewhere.cores))
    cores = max(rounds)[-1]
    indexing, decoding, bare, probed, _ = (max(column) for column in zip(*rounds, strict=True))
    index_cpu, probed_cpu = (min(each[place].cpu for each in rounds) for place in (0, 3))
    ratio = indexing.images / min(decoding, probed.images)
    to_bare = indexing.images / min(decoding, bare.images)
    print(
        f"| {mode} | {decoding:.0f} | {bare.images:.0f} | {probed.images:.0f} | {indexing.images:.0f} "
        f"| {ratio:.2f} | {to_bare:.2f} | {probed_cpu:.1f} | {index_cpu:.1f} | {cores:.2f} |",
        flush=True,
    )
    return ratio, cores


class Elsewhere:
    """Measures how many cores other processes keep busy; NaN if the system does not provide it."""

    def __enter__(self) -> Elsewhere:
        self.started = (time.perf_counter(), self.busy(), time.process_time())
        return self

    def __exit__(self, *_: object) -> None:
        now = (time.perf_counter(), self.busy(), time.process_time())
        wall, busy, own = (end - start for start, end in zip(self.started, now, strict=True))
        self.cores = max(busy - own, 0.0) / wall

    @staticmethod
    def busy() -> float:
        """Return the busy time of all processors together, in seconds."""
        try:
            first = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        except OSError:
            return float("nan")
        ticks = [int(number) for number in first]
        return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
