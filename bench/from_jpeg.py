"""Does indexing from JPEG files run as fast as the slower of decoding and the network?

    python bench/from_jpeg.py [--images 512] [--rounds 5] [--workers 1] [--data FOLDER]

One torch thread and `--workers` decoding threads, so two idle cores are needed. In two situations:
the network is the slower side (EfficientNet-Lite0), or decoding is (a network of one convolution).
In one process and interleaved:

- decode: files read and decoded, one after another, by as many threads as `--workers`;
- bare: the forward pass over batches of decoded images, no probes;
- probed: the same with probes and top-k lists, as the index does it (what probes cost is the
  question of bench/index.py);
- index: `run_index` over the files, from its first batch to its last (images/s of the run itself,
  without loading the network and merging the parts, whose time does not grow with the images).

The target is index / min(decode, bare) of at least 0.9; the last column but one says how well the
two sides overlap, index / min(decode, probed). The best of the rounds counts, since whatever else
a machine does only takes time away; the last column says how many cores were busy with that.
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
from pathlib import Path

SIZE = (500, 375)
"""Pixels of most of ImageNet's photographs."""

QUALITY = 95
SIDE = 224
TARGET = 0.9


class Stopwatch:
    """A reporter that remembers when how many images were done."""

    def __init__(self) -> None:
        self.moments: list[tuple[float, int]] = []

    def note(self, text: str) -> None: ...

    @contextlib.contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Iterator[Stopwatch]:
        self.title = title
        yield self

    def describe(self, text: str) -> None: ...

    def expect(self, total: int | None) -> None: ...

    def advance(self, count: int = 1) -> None:
        if self.title == "indexing":
            done = self.moments[-1][1] if self.moments else 0
            self.moments.append((time.perf_counter(), done + count))

    def rate(self) -> float:
        (start, first), (end, last) = self.moments[0], self.moments[-1]
        return (last - first) / (end - start)


def write_files(folder: Path, count: int, data: str | None) -> list[Path]:
    """`count` JPEG files of a dataset; by default the demo's, brought to ImageNet's usual size."""
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
    """The network of a situation, and its layers to be indexed."""
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


def network_rate(pixels, network, layers, batch: int, *, probed: bool) -> float:
    """Images/s of the forward pass over decoded images, with what the index does or without."""
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
            runner.probes._remove()

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
            started = time.perf_counter()
            for first in range(batch, len(pixels), batch):
                show(first)
            return (len(pixels) - batch) / (time.perf_counter() - started)


def index_rate(folder: Path, network, layers, arguments) -> float:
    from pipeline.config import RunConfig
    from pipeline.runs.run import run_index

    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as out:
        config = RunConfig(
            data=(str(folder),),
            out=Path(out),
            layers=layers,
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

    import torch

    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, {arguments.images} images, {arguments.workers} decoding "
        f"thread(s), {os.cpu_count()} cores, {platform.machine()}\n"
    )
    print(
        "| slower side | decode | bare | probed | index, images/s | over the slower "
        "| overlap | cores busy elsewhere |"
    )
    print("|---|---|---|---|---|---|---|---|")
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        paths = write_files(Path(folder), arguments.images, arguments.data)
        for mode in arguments.modes.split(","):
            ratio = measure(mode, Path(folder), paths, arguments)
            missed += [mode] if ratio < TARGET else []
    sys.exit(f"below {TARGET}: {', '.join(missed)}" if missed else 0)


def measure(mode: str, folder: Path, paths: list[Path], arguments) -> float:
    """Print one line of the table; the ratio that the target is about."""
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
    indexing, *_, cores = max(rounds)
    decoding, bare, probed = (max(column) for column in list(zip(*rounds, strict=True))[1:4])
    ratio = indexing / min(decoding, bare)
    print(
        f"| {mode} | {decoding:.0f} | {bare:.0f} | {probed:.0f} | {indexing:.0f} | {ratio:.2f} "
        f"| {indexing / min(decoding, probed):.2f} | {cores:.2f} |",
        flush=True,
    )
    return ratio


class Elsewhere:
    """How many cores other processes kept busy meanwhile, where the system tells."""

    def __enter__(self) -> Elsewhere:
        self.started = (time.perf_counter(), self.busy(), time.process_time())
        return self

    def __exit__(self, *_: object) -> None:
        now = (time.perf_counter(), self.busy(), time.process_time())
        wall, busy, own = (end - start for start, end in zip(self.started, now, strict=True))
        self.cores = max(busy - own, 0.0) / wall

    @staticmethod
    def busy() -> float:
        """Seconds that all processors together have worked."""
        try:
            first = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        except OSError:
            return float("nan")
        ticks = [int(number) for number in first]
        return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
