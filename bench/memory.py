"""Does indexing need more memory for more images?

    python bench/memory.py [--images 1000,50000] [--allowed 1.05]

Generates WebDataset shards of tiny JPEGs. For each number of images, indexes that many in a separate
process with a network of a few units. Prints the peak resident memory of each run and their ratio. The
exit code is 1 if the ratio of the last run to the first is above `--allowed`.
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


def run_child(data: Path, images: int) -> None:
    """Index the first `images` images in this process and print a line of JSON."""
    import torch
    from torch import nn

    from pipeline.config import RunConfig
    from pipeline.images.preprocess import Preprocess
    from pipeline.networks.network import Network
    from pipeline.runs.run import run_index

    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU())
    network = Network.from_module(module, Preprocess(SIDE, SIDE, SIDE), name="small")
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    shards = sorted(data.glob("*.tar"))[: -(-images // PER_SHARD)]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as out:
        config = RunConfig(
            data=tuple(map(str, shards)),
            out=Path(out),
            layers=("0", "2"),
            compile="off",
            workers=1,
            threads=1,
        )
        summary = run_index(config, network=network)
    found = {
        "images": summary.images,
        "seconds": time.monotonic() - started,
        "loaded_mib": loaded / 1024,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", default="1000,50000", help="numbers of images, rising")
    parser.add_argument("--allowed", type=float, default=1.05, help="ratio of the peaks")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_child(arguments.folder, arguments.child)
        return
    counts = [int(number) for number in arguments.images.split(",")]
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        print(f"writing {max(counts):,} images", file=sys.stderr, flush=True)
        write_shards(Path(folder), max(counts))
        for count in counts:
            print(f"indexing {count:,}", file=sys.stderr, flush=True)
            words = [sys.executable, __file__, "--child", str(count), "--folder", folder]
            line = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
            runs.append(json.loads(line.splitlines()[-1]))
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
