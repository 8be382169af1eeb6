"""How many renderings that a circuit decides have an unusual path, and how many honest ones?

    python -m bench.fooled [--draws 0-3] [--steps 96]

Renders all units of small networks of which the truth is known (`tests/fixtures/fooling.py`) with the
recipe `fourier`: an honest one, and those with a circuit of Geirhos et al. 2024 in the layer of the units,
in the layer before (`deep`), or one that shows what another unit looks for (`permuted`). Draws 0 to 3 are
of one network with four pictures, or four draws of the silent filters; from 4 on the picture, the filters
and what the units look for are all drawn. Prints for each circuit how many units are fooled (active more
than three times as high as in any photograph), how many of those, or of the honest ones, are measured, how
many are marked, and the lowest rate of marks that this does not exclude (95 %, Clopper and Pearson 1934);
the units of one circuit share photographs and filters, so it is too narrow.
"""

from __future__ import annotations

import argparse
import re
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
CIRCUITS: tuple[Circuit, ...] = ("honest", "embedded", "silent", "deep embedded", "deep silent", "permuted")


def render(folder: Path, circuit: Circuit, draw: int, steps: int) -> list[Rendered]:
    """Index and render one network; its rows."""
    shown, kinds_seed = (PICTURES[draw], 3) if draw < len(PICTURES) else ("blobs", draw)
    network = fooling_network(circuit, shown, 4 + draw, kinds_seed)
    out = folder / f"{circuit}-{draw}"
    run_index(RunConfig(data=(str(folder / "data"),), out=out, network=circuit, top=20), network=network)
    with open_index(out) as index:
        return render_index(
            index,
            get_recipe("fourier", {"steps": str(steps)}),
            layers="units",
            network=network,
            precision="fp32",
            seed=draw,
        )


def is_fooled(row: Rendered) -> bool:
    """Whether a rendering is active more than three times as high as any photograph."""
    return bool(row.best_real and row.activation > 3 * row.best_real)


def read_draws(text: str) -> range:
    """Numbers of draws, such as 4 or 0-3."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    draws = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
    if not draws:
        raise argparse.ArgumentTypeError(f"expected a number or a range such as 0-3, got {text!r}")
    return draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--draws", type=read_draws, default="0-3")
    parser.add_argument("--steps", type=int, default=96)
    given = parser.parse_args()
    print("| circuit | units | fooled | measured | marked | rate of marks | least, median, most |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder) / "data")
        for circuit in CIRCUITS:
            rows: list[Rendered] = []
            for draw in given.draws:
                rows += render(Path(folder), circuit, draw, given.steps)
            counted = [row for row in rows if circuit == "honest" or is_fooled(row)]
            paths = sorted(row.path for row in counted if row.path is not None)
            marked = sum(is_unusual(path) for path in paths)
            if circuit == "honest":
                bound = f"at most {highest_rate(marked, len(paths)):.1%}"
            else:
                bound = f"at least {1 - highest_rate(len(paths) - marked, len(paths)):.1%}"
            spread = ", ".join(f"{path:.2f}" for path in (paths[0], paths[len(paths) // 2], paths[-1]))
            fooled = sum(map(is_fooled, rows))
            print(
                f"| {circuit} | {len(rows)} | {fooled} | {len(paths)} | {marked} | {bound} | {spread} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
