"""Does indexing need more memory for more images? How much does it need for a unit?

    python bench/memory.py [--images 1000,50000] [--allowed 1.05]
    python bench/memory.py --images 4000 --units 10000,40000
    python bench/memory.py --images 33000 --units 5000,15000 --shards-per-part 33
    python bench/memory.py --images 64 --features 20000,100000

Generates WebDataset shards of tiny JPEGs, indexes the first N of them in a process of its own for
each N, with a network of a few units, and prints the peak resident memory of each and their ratio.
The exit code is 1 when the ratio of the largest to the smallest is above `--allowed`. With `--units`
it indexes with networks of that many units, a part for each shard (or `--shards-per-part` of them), and
prints the memory per unit until the shards are indexed and until the parts are merged. With `--features` it
indexes dictionaries of that many features of a layer of 768 channels and 14 x 14
positions, as ViT-B has, in batches of 32.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

PER_SHARD = 1000
SIDE = 32
LABELS = 50
CHANNELS = 768


def write_shards(folder: Path, images: int) -> None:
    """Write tar shards of small pictures that are all different."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for first in range(0, images, PER_SHARD):
        with tarfile.open(folder / f"memory-{first // PER_SHARD:04}.tar", "w") as archive:
            for number in range(first, min(first + PER_SHARD, images)):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(6, 0).repeat(6, 1)
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "JPEG", quality=60)
                for name, data in (
                    (f"{number:07}.jpg", file.getvalue()),
                    (f"{number:07}.cls", f"label {number % LABELS}".encode()),
                ):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))


def small_network(units: int | None):
    """Two convolutions, or one linear layer of that many units; and the layers to index."""
    import torch
    from torch import nn

    from pipeline.images.preprocess import Preprocess
    from pipeline.networks.network import Network

    torch.manual_seed(0)
    if units:
        module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, units))
        return Network.from_module(module, Preprocess(4, 4, 4), name="wide"), ("1",)
    module = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU())
    return Network.from_module(module, Preprocess(SIDE, SIDE, SIDE), name="small"), ("0", "2")


def with_dictionary(features: int, folder: Path):
    """Patches projected to the channels and positions of ViT-B, with a dictionary; and the layer to index."""
    import torch
    from safetensors.torch import save_file
    from torch import nn

    from pipeline.images.preprocess import Preprocess
    from pipeline.networks.extra_modules import add_directions
    from pipeline.networks.network import Network

    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, CHANNELS, 16, 16), nn.ReLU())
    tensors = {"W_enc": torch.randn(CHANNELS, features) / CHANNELS**0.5, "b_enc": torch.zeros(features)}
    save_file(tensors, folder / "sae.safetensors", {"activation": "topk", "k": "64"})
    del tensors
    names = add_directions(module, f"1={folder / 'sae.safetensors'}")
    return Network.from_module(module, Preprocess(224, 224, 224), name="patches"), names


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_child(data: Path, images: int, units: int | None, features: int | None, per_part: int | None) -> None:
    """Index the first so many images in this process and print a line of JSON."""
    from pipeline.config import RunConfig
    from pipeline.progress import Silent
    from pipeline.runs.run import run_index

    class Peaks(Silent):
        """Notes the peak when the parts begin to be merged."""

        def task(self, title, total=None, unit=""):
            if title == "merging parts":
                self.indexed = peak_mib()
            return super().task(title, total, unit)

    peaks = Peaks()
    shards = sorted(data.glob("*.tar"))[: -(-images // PER_SHARD)]
    with tempfile.TemporaryDirectory() as out:
        network, layers = with_dictionary(features, data) if features else small_network(units)
        loaded = peak_mib()
        started = time.monotonic()
        config = RunConfig(
            data=tuple(map(str, shards)),
            out=Path(out),
            layers=layers,
            compile="off",
            workers=1,
            threads=1,
            shards_per_part=(per_part or 1) if units else None,
        )
        summary = run_index(config, network=network, reporter=peaks)
    found = {
        "images": summary.images,
        "seconds": time.monotonic() - started,
        "loaded_mib": loaded,
        "indexed_mib": peaks.indexed,
        "peak_mib": peak_mib(),
    }
    print(json.dumps(found))


def in_child(
    folder: str,
    images: int,
    units: int | None = None,
    features: int | None = None,
    per_part: int | None = None,
) -> dict[str, float]:
    """Index in a process of its own."""
    print(f"indexing {images:,}", file=sys.stderr, flush=True)
    words = [sys.executable, __file__, "--child", str(images), "--folder", folder]
    words += ["--child-units", str(units)] if units else []
    words += ["--child-features", str(features)] if features else []
    words += ["--shards-per-part", str(per_part)] if per_part else []
    line = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(line.splitlines()[-1])


def print_units(units: list[int], runs: list[dict[str, float]]) -> None:
    """What each further unit adds to the peaks."""
    print("| units | RSS before, MiB | peak RSS indexed, MiB | peak RSS merged, MiB |")
    print("|---|---|---|---|")
    for number, run in zip(units, runs, strict=True):
        print(f"| {number:,} | {run['loaded_mib']:.0f} | {run['indexed_mib']:.0f} | {run['peak_mib']:.0f} |")
    for key, title in (("indexed_mib", "indexing"), ("peak_mib", "merging")):
        kb = 1024 * (runs[-1][key] - runs[0][key]) / (units[-1] - units[0])
        print(f"{title}: {kb:.0f} KB a unit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", default="1000,50000", help="numbers of images, rising")
    parser.add_argument("--allowed", type=float, default=1.05, help="ratio of the peaks")
    parser.add_argument("--units", help="two numbers of units, rising")
    parser.add_argument("--shards-per-part", type=int, help="with --units; 1 by default")
    parser.add_argument("--features", help="two numbers of features of a dictionary, rising")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--child-units", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--child-features", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_child(
            arguments.folder,
            arguments.child,
            arguments.child_units,
            arguments.child_features,
            arguments.shards_per_part,
        )
        return
    counts = [int(number) for number in arguments.images.split(",")]
    units = [int(number) for number in (arguments.units or "").split(",") if number]
    features = [int(number) for number in (arguments.features or "").split(",") if number]
    with tempfile.TemporaryDirectory() as folder:
        print(f"writing {max(counts):,} images", file=sys.stderr, flush=True)
        write_shards(Path(folder), max(counts))
        if units:
            per_part = arguments.shards_per_part
            print_units(units, [in_child(folder, max(counts), n, per_part=per_part) for n in units])
            return
        if features:
            runs = [in_child(folder, max(counts), features=number) for number in features]
            print_units(features, runs)
            return
        runs = [in_child(folder, count) for count in counts]
    print("| images | seconds | RSS before, MiB | peak RSS, MiB | of the first |")
    print("|---|---|---|---|---|")
    for run in runs:
        ratio = run["peak_mib"] / runs[0]["peak_mib"]
        print(
            f"| {run['images']:,} | {run['seconds']:.1f} | {run['loaded_mib']:.0f} "
            f"| {run['peak_mib']:.1f} | {ratio:.3f} |"
        )
    ratio = runs[-1]["peak_mib"] / runs[0]["peak_mib"]
    sys.exit(0 if ratio <= arguments.allowed else f"the peak grew by a factor of {ratio:.3f}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
