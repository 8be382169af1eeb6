"""Does indexing from JPEG files run as fast as the slower of decoding and the network?

    python bench/from_jpeg.py [--images 512] [--rounds 5] [--workers 1] [--data FOLDER]

One torch thread and `--workers` decoding threads, so two cores are needed. Three situations: the
network is the slower one (EfficientNet-Lite0), decoding is (a network of one convolution), and both
take about as long (a network sized for it, where the two compete for the interpreter the most).
For each, in one process and interleaved:

- decode alone: files read and decoded, one after another, by as many threads as `--workers`;
- network alone: the bare forward pass over batches of decoded images, no probes;
- index: `run_index` over the files, from its first batch to its last (images/s of the run itself,
  without loading the network and merging the parts, whose time does not grow with the images).

The target is index / min(decode, network) of at least 0.9. The best of the rounds counts, since what else a machine does only ever takes time away.
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
EVEN_CHANNELS = 16
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

    from pipeline.sources import Sample, open_dataset

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

    from pipeline.geometry import Preprocess
    from pipeline.networks import Network, load_network

    if mode == "network":
        return load_network("efficientnet_lite0"), ()
    torch.manual_seed(0)
    first = nn.Conv2d(3, 8, 3, stride=4)
    wide = EVEN_CHANNELS
    rest = [
        nn.Conv2d(8, wide, 3, padding=1), nn.ReLU(), nn.Conv2d(wide, wide, 3), nn.ReLU()
    ]  # fmt: skip
    module = nn.Sequential(first, nn.ReLU(), *(rest if mode == "even" else []))
    network = Network.from_module(module, Preprocess(SIDE, SIDE, 256), name=mode)
    return network, ("0", "2", "4") if mode == "even" else ("0",)


def decode_rate(paths: list[Path], network, workers: int) -> float:
    from pipeline.decode import decode

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


def network_rate(pixels, network, batch: int) -> float:
    import torch

    from pipeline.index import place_module

    module = place_module(network, "fp32", "channels_last")

    def show(first: int) -> None:
        normal = network.normalise(torch.stack(pixels[first : first + batch]))
        module(normal.contiguous(memory_format=torch.channels_last))

    with torch.inference_mode():
        show(0)
        started = time.perf_counter()
        for first in range(0, len(pixels), batch):
            show(first)
    return len(pixels) / (time.perf_counter() - started)


def index_rate(folder: Path, network, layers, arguments) -> float:
    from pipeline.config import RunConfig
    from pipeline.run import run_index

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
    parser.add_argument("--modes", default="network,even,decode")
    arguments = parser.parse_args()

    import torch

    from pipeline.decode import decode

    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {arguments.images} images, {arguments.workers} decoding "
          f"thread(s), {os.cpu_count()} cores, {platform.machine()}\n")  # fmt: skip
    print("| slower side | decode, images/s | network, images/s | index, images/s | ratio |")
    print("|---|---|---|---|---|")
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        paths = write_files(Path(folder), arguments.images, arguments.data)
        for mode in arguments.modes.split(","):
            network, layers = make_network(mode)
            pixels = [decode(path.read_bytes(), network.preprocess).pixels for path in paths]
            rounds = []
            for _ in range(arguments.rounds):
                decoding = decode_rate(paths, network, arguments.workers)
                alone = network_rate(pixels, network, arguments.batch)
                indexing = index_rate(Path(folder), network, layers, arguments)
                rounds.append((decoding, alone, indexing))
            best = [max(column) for column in zip(*rounds, strict=True)]
            ratio = best[2] / min(best[:2])
            print(f"| {mode} | {best[0]:.0f} | {best[1]:.0f} | {best[2]:.0f} | {ratio:.2f} |")
            sys.stdout.flush()
            missed += [mode] if ratio < TARGET else []
    sys.exit(f"below {TARGET}: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
