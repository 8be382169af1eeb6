"""How many renderings that a circuit decides have an unusual path, and how many honest ones?

    python -m bench.fooled [--steps 96]

Renders all units of small networks of which the truth is known (`tests/fixtures/fooling.py`) with the recipe
`fourier`: an honest one, and those with a circuit of Geirhos et al. 2024 in the layer of the units or in the
layer before. Each circuit is built four times: with four pictures, or with four draws of the silent filters.
Prints for each how many units are measured, how many are marked, and the lowest rate of marks that this does
not exclude (95 %, Clopper and Pearson 1934); the units of one circuit share photographs and filters, so it is
too narrow.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bench.paths import highest_rate
from pipeline.config import RunConfig
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from tests.fixtures.fooling import Circuit, Shown, fooling_network, write_photographs
from viz.paths.likeness import is_unusual
from viz.recipes.catalog import get_recipe
from viz.render.render_index import render_index
from viz.render.table import Rendered

PICTURES: tuple[Shown, ...] = ("ring", "cross", "wedge", "blobs")
CIRCUITS: tuple[Circuit, ...] = ("honest", "embedded", "silent", "deep embedded", "deep silent")


def render(folder: Path, circuit: Circuit, variant: int, steps: int) -> list[Rendered]:
    """Index and render one network; its rows."""
    network = fooling_network(circuit, PICTURES[variant], 4 + variant)
    out = folder / f"{circuit}-{variant}"
    run_index(RunConfig(data=(str(folder / "data"),), out=out, network=circuit, top=20), network=network)
    with open_index(out) as index:
        return render_index(
            index,
            get_recipe("fourier", {"steps": str(steps)}),
            layers="units",
            network=network,
            precision="fp32",
            seed=variant,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=96)
    given = parser.parse_args()
    print("| circuit | units | fooled | measured | marked | rate of marks | least, median, most |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder) / "data")
        for circuit in CIRCUITS:
            rows: list[Rendered] = []
            for variant in range(len(PICTURES)):
                rows += render(Path(folder), circuit, variant, given.steps)
            fooled = sum(bool(row.best_real and row.activation > 3 * row.best_real) for row in rows)
            paths = sorted(row.path for row in rows if row.path is not None)
            marked = sum(is_unusual(path) for path in paths)
            if circuit == "honest":
                bound = f"at most {highest_rate(marked, len(paths)):.0%}"
            else:
                bound = f"at least {1 - highest_rate(len(paths) - marked, len(paths)):.0%}"
            spread = ", ".join(f"{path:.2f}" for path in (paths[0], paths[len(paths) // 2], paths[-1]))
            print(
                f"| {circuit} | {len(rows)} | {fooled} | {len(paths)} | {marked} | {bound} | {spread} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
