"""How like each other are the paths of real patches to one unit, and of its renderings?

    python -m bench.paths OUT --layer blocks.4.2 --units 0-15

Prints for every layer the 1 %, 5 % and 50 % quantiles of `path` of the units' own top patches, each left out;
how many units have a path of their own; the time per unit; and for each recipe in OUT the renderings that are
measured, and those of them with an unusual path. The threshold `UNUSUAL` was read from the first numbers.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from pipeline.layers.layer import Layer
from pipeline.query.index import open_index
from pipeline.query.indexed_network import index_network
from viz.inputs.inputs import Inputs
from viz.objectives.text import parse_objective
from viz.paths.likeness import is_unusual
from viz.paths.paths import Paths
from viz.recipes.catalog import get_recipe
from viz.render.measure import on_input, open_picture
from viz.render.table import read_renders


def measure_layer(inputs: Inputs, layer: Layer, units: list[int]) -> None:
    """Print the numbers of one layer."""
    out, paths, make = inputs.index.out, Paths(inputs), parse_objective("point", layer, inputs.index.layers)
    rows, canvases = read_renders(out, layer.name, objective="point"), {}
    left_out: list[float] = []
    found: dict[str, list[float | None]] = defaultdict(list)
    known, seconds = 0, 0.0
    for unit in units:
        started = time.process_time()
        reference = paths.reference(make(unit))
        seconds += time.process_time() - started
        if isinstance(reference, str):
            continue
        known += 1
        left_out += reference.left_out
        for row in rows.get(unit, []):
            recipe = get_recipe(row.recipe)
            if row.recipe not in canvases:
                canvases[row.recipe] = recipe.canvas(inputs, layer, make(0))
            picture = open_picture(out / row.file, inputs.network.input_shape[0])
            whole = on_input(inputs.network, [picture], canvases[row.recipe], recipe.zoom)
            found[row.recipe] += paths.measure(whole, [make(unit)])
    print(f"{layer.name}: {known} of {len(units)} units, {seconds / len(units):.2f} s of CPU per unit")
    if left_out:
        low, middle, half = np.quantile(left_out, (0.01, 0.05, 0.5))
        print(f"  {len(left_out)} left-out patches: 1 % {low:.2f}, 5 % {middle:.2f}, median {half:.2f}")
    for recipe_name, values in sorted(found.items()):
        numbers = [value for value in values if value is not None]
        unusual = sum(is_unusual(value) for value in numbers)
        print(
            f"  {recipe_name}: {unusual} of {len(numbers)} unusual; "
            f"least {min(numbers):.2f}, median {np.median(numbers):.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layer", action="append", default=[])
    parser.add_argument("--units", default="0-15")
    given = parser.parse_args()
    with open_index(given.out) as index:
        inputs = Inputs(index_network(index), index)
        for layer, units in index.choose(given.layer, given.units):
            measure_layer(inputs, layer, list(units))


if __name__ == "__main__":
    main()
