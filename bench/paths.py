"""How like each other are the paths of real patches to one unit, and of its renderings?

    python -m bench.paths OUT --layer blocks.4.2 --units 0-15
    python -m bench.paths --layer blocks.2.1 --units 0-7        # of the demo

Without OUT, the demo is indexed with EfficientNet-Lite0 in a temporary folder, and the units are rendered
with `fourier` in `--steps` steps. Prints for every layer the 1 %, 5 % and 50 % quantiles of `path` of the
units' own top patches, each left out; how many units have a path of their own; the time per unit; with
`--others N`, how many of the strongest images of N other units have an unusual path to each unit; and for
each recipe in OUT the renderings that are measured, those of them with an unusual path, and the highest rate
of such renderings that these numbers do not exclude (95 %, Clopper and Pearson 1934). Exit code 2 if OUT or
what is asked of it is not there.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline.config import RunConfig
from pipeline.errors import MaxactError
from pipeline.layers.layer import Layer
from pipeline.query.index import Index, TopImage, open_index
from pipeline.query.indexed_network import index_network
from pipeline.runs.run import run_index
from viz.inputs.inputs import Inputs
from viz.objectives.objective import point
from viz.objectives.text import parse_objective
from viz.paths.contributions import Contributions
from viz.paths.likeness import Reference, is_unusual
from viz.paths.paths import PATCHES, Paths
from viz.recipes.catalog import get_recipe
from viz.render.measure import on_input, open_picture
from viz.render.render_index import render_index
from viz.render.table import read_renders

DEMO_NETWORK, DEMO_LAYER = "efficientnet_lite0", "blocks.2.1"
HEADER = """\
| layer | units with a path of their own | s of CPU per unit | left-out patches | 1 % | 5 % | median \
| images of other units, unusual | their median |
|---|---|---|---|---|---|---|---|---|"""
RENDERINGS = """\
| layer | recipe | unusual renderings | rate at most | least | median |
|---|---|---|---|---|---|"""


def highest_rate(events: int, trials: int, confidence: float = 0.95) -> float:
    """The one-sided upper bound of a rate (Clopper and Pearson 1934), by bisection of the binomial sum."""
    low, high = events / trials, 1.0
    while high - low > 1e-6:
        rate = (low + high) / 2
        below = sum(
            math.comb(trials, count) * rate**count * (1 - rate) ** (trials - count)
            for count in range(events + 1)
        )
        low, high = (rate, high) if below > 1 - confidence else (low, rate)
    return high


class Strangers:
    """The strongest images of other units, measured as if they were pictures of a unit.

    Args:
        inputs: with an index.
        layer: of the units.
        count: other units.
    """

    def __init__(self, inputs: Inputs, layer: Layer, count: int) -> None:
        self.inputs, self.layer, self.count = inputs, layer, count
        self.contributions = Contributions(inputs.network, layer)
        order = torch.randperm(layer.units, generator=torch.Generator().manual_seed(0)).tolist()
        self.images = {other: self._strongest(other) for other in order[: 4 * count]}

    def _strongest(self, unit: int) -> TopImage:
        return self.inputs.chosen_images(self.layer, unit, "high", 1)[0]

    def paths(self, unit: int, reference: Reference) -> list[float]:
        """The paths to a unit of images that are not among its own."""
        own = {i.photograph for i in self.inputs.chosen_images(self.layer, unit, "high", PATCHES)}
        chosen = [i for other, i in self.images.items() if other != unit and i.photograph not in own]
        chosen = chosen[: self.count]
        read = self.inputs.pixels([image.image_id for image in chosen])
        pictures = torch.stack([read[image.image_id] for image in chosen]).float()
        objectives = [point(self.layer, unit, y=image.y, x=image.x) for image in chosen]
        return reference.path(self.contributions(pictures, objectives))


@dataclass(frozen=True, slots=True)
class Found:
    """What one layer gives: the row of its units, and the paths of its renderings by recipe."""

    row: str
    renderings: dict[str, list[float]]


def measure_layer(inputs: Inputs, layer: Layer, units: list[int], others: int) -> Found:
    """Measure the own patches of units, the images of others, and the renderings in OUT."""
    out, paths, make = inputs.index.out, Paths(inputs), parse_objective("point", layer, inputs.index.layers)
    rows, canvases = read_renders(out, layer.name, objective="point"), {}
    strangers = Strangers(inputs, layer, others) if others else None
    left_out: list[float] = []
    foreign: list[float] = []
    found: dict[str, list[float]] = defaultdict(list)
    known, seconds = 0, 0.0
    for unit in units:
        started = time.process_time()
        reference = paths.reference(make(unit))
        seconds += time.process_time() - started
        if isinstance(reference, str):
            continue
        known += 1
        left_out += reference.left_out
        foreign += strangers.paths(unit, reference) if strangers else []
        for row in rows.get(unit, []):
            recipe = get_recipe(row.recipe)
            if row.recipe not in canvases:
                canvases[row.recipe] = recipe.canvas(inputs, layer, make(0))
            picture = open_picture(out / row.file, inputs.network.input_shape[0])
            whole = on_input(inputs.network, [picture], canvases[row.recipe], recipe.zoom)
            (measured,) = paths.measure(whole, [make(unit)])
            assert measured.path is not None
            found[row.recipe].append(measured.path)
    quantiles = (f"{each:.2f}" for each in np.quantile(left_out, (0.01, 0.05, 0.5))) if left_out else "---"
    cells = [f"`{layer.name}`", f"{known} of {len(units)}", f"{seconds / len(units):.2f}"]
    cells += [str(len(left_out)), *quantiles]
    unusual = sum(map(is_unusual, foreign))
    cells += [f"{unusual} of {len(foreign)}", f"{np.median(foreign):.2f}"] if foreign else ["-", "-"]
    return Found(f"| {' | '.join(cells)} |", found)


def rendering_row(layer: str, recipe: str, paths: list[float]) -> str:
    """The row of the renderings of one recipe."""
    unusual = sum(map(is_unusual, paths))
    rate = highest_rate(unusual, len(paths))
    return (
        f"| {layer} | {recipe} | {unusual} of {len(paths)} | {rate:.1%} "
        f"| {min(paths):.2f} | {np.median(paths):.2f} |"
    )


def print_tables(inputs: Inputs, chosen: list[tuple[Layer, range]], others: int) -> None:
    """Measure the layers, and print the tables of their units and of their renderings."""
    print(HEADER, flush=True)
    together: dict[str, list[float]] = defaultdict(list)
    rows = []
    for layer, units in chosen:
        found = measure_layer(inputs, layer, list(units), others)
        print(found.row, flush=True)
        for recipe, values in sorted(found.renderings.items()):
            rows.append(rendering_row(f"`{layer.name}`", recipe, values))
            together[recipe] += values
    if len(chosen) > 1:
        rows += [rendering_row("all", recipe, values) for recipe, values in sorted(together.items())]
    if rows:
        print("", RENDERINGS, *rows, sep="\n")


@contextmanager
def opened(given: argparse.Namespace) -> Iterator[Index]:
    """The index of OUT, or one of the demo with rendered units, which is removed afterwards."""
    if given.out is not None:
        with open_index(given.out) as index:
            yield index
        return
    with tempfile.TemporaryDirectory() as folder:
        layers = tuple(given.layer) or (DEMO_LAYER,)
        run_index(
            RunConfig(("demo",), Path(folder) / "out", network=DEMO_NETWORK, layers=layers, compile="off")
        )
        with open_index(Path(folder) / "out") as index:
            recipe = get_recipe("fourier", {"steps": str(given.steps)})
            render_index(index, recipe, layers=list(layers), units=given.units, path=False)
            yield index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--layer", action="append", default=[])
    parser.add_argument("--units", default="0-15")
    parser.add_argument("--others", type=int, default=0)
    parser.add_argument("--steps", type=int, default=48, help="of `fourier`, where there is no OUT")
    given = parser.parse_args()
    try:
        with opened(given) as index:
            inputs = Inputs(index_network(index), index)
            print_tables(inputs, list(index.choose(given.layer, given.units)), given.others)
    except MaxactError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
