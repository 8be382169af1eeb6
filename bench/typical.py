"""How long does one unit take with `typical`, the default recipe, and how long did it take before?

    git worktree add ../before v0.2.0
    python bench/typical.py DATA --before ../before

Indexes some photographs of DATA (by default the demo) with each network, and renders units with either
version in turn, in processes of their own, on one thread; without `--before`, with the present version only.
Printed are seconds of processor time per unit, all of `render_units` without the measurement of paths:
`first` with an empty cache, `more` for as many other units in a second call. The networks of torchvision and
timm have random weights; their units cost as much as others.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent

NETWORKS = (
    ("efficientnet_lite0", None, ("blocks.2.1", "blocks.4.2", "blocks.6.0")),
    ("torchvision:resnet50", "random", ("layer3.1",)),
    ("timm:vit_base_patch16_224", "random", ("blocks.6",)),
)
"""Networks, their weights and layers."""


def render(out: Path, name: str, units: int) -> list[float]:
    """Render twice as many units of a layer in two calls; seconds of processor time per unit of each."""
    from pipeline.query.index import open_index
    from pipeline.query.indexed_network import index_network
    from viz.inputs.inputs import Inputs
    from viz.paths.paths import Paths
    from viz.recipes.catalog import get_recipe
    from viz.render.render_units import render_units

    without: dict[str, bool] = {}
    if "path" in inspect.signature(render_units).parameters:
        without["path"] = False
    else:  # versions that cannot leave the measurement out expect one number for each picture
        Paths.measure = lambda self, pictures, objectives: [None] * len(pictures)
    found = []
    with open_index(out) as index, tempfile.TemporaryDirectory() as folder:
        network = index_network(index)
        for first in (0, units):
            chosen = range(first, first + units)
            started = time.process_time()
            inputs = Inputs(network, index)
            render_units(
                network,
                index.layer(name),
                chosen,
                get_recipe("typical"),
                out=Path(folder),
                inputs=inputs,
                **without,
            )
            found.append((time.process_time() - started) / units)
    return found


def index(
    data: str, network: str, weights: str | None, layers: tuple[str, ...], images: int, work: Path
) -> Path:
    """Index some photographs; the index's folder, whose cache is `work/cache`."""
    from bench.truth.halves import lay_out, list_sources, split
    from pipeline.config import RunConfig
    from pipeline.data.dataset import open_dataset
    from pipeline.runs.run import run_index

    dataset = open_dataset((data,))
    first, last = split(list(list_sources(dataset)), images=images)
    lay_out(work / "images", [*first, *last], dataset)
    out = work / network.replace(":", "-")
    config = RunConfig(
        data=(str(work / "images"),),
        out=out,
        network=network,
        weights=weights,
        layers=layers,
        top=16,
        compile="off",
        cache=work / "cache",
    )
    run_index(config)
    return out


def measure(checkout: Path, out: Path, layer: str, units: int, cache: Path) -> list[float]:
    """What `render` finds in a process that imports the packages of a checkout."""
    shutil.rmtree(cache / "usual", ignore_errors=True)
    command = [sys.executable, __file__, "--child", str(out), layer, str(units)]
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, check=True)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "data", nargs="?", default="demo", help="a folder of photographs, or any other dataset"
    )
    parser.add_argument("--before", type=Path, help="checkout of an earlier version")
    parser.add_argument("--images", type=int, default=96, help="photographs that are indexed")
    parser.add_argument("--units", type=int, default=8, help="units per call")
    parser.add_argument("--network", action="append", help="only these networks")
    parser.add_argument("--layer", action="append", help="only these layers")
    given = parser.parse_args()
    if given.before and not (given.before / "viz").is_dir():
        parser.error(f"--before {given.before} is no checkout of maxact")
    checkouts = {"now": ROOT} | ({"before": given.before.resolve()} if given.before else {})
    titles = [f"{version}, {call}" for version in reversed(checkouts) for call in ("first", "more")]
    print(f"| network | layer | {' | '.join(titles)} |\n|{'---|' * (2 + len(titles))}")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for network, weights, layers in NETWORKS:
            if given.network and network not in given.network:
                continue
            out = index(given.data, network, weights, layers, given.images, work)
            for layer in given.layer or layers:
                found = [
                    f"{seconds:.2f}"
                    for version in reversed(checkouts)
                    for seconds in measure(checkouts[version], out, layer, given.units, work / "cache")
                ]
                print(f"| {network} | `{layer}` | {' | '.join(found)} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(render(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
    else:
        sys.path.insert(0, str(ROOT))
        from pipeline.errors import MaxactError

        try:
            main()
        except MaxactError as error:
            sys.exit(f"error: {error}")
