"""Index the demo data, and look at one unit: its top images, its statistics, a rendering, a sheet.

    python examples/first_unit.py --unit 7

A unit is one feature of a layer: of a convolutional network, one channel of the layer's output.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from maxact import (
    ConsoleReporter,
    MaxactError,
    RunConfig,
    draw_sheets,
    get_recipe,
    open_index,
    render_index,
    run_index,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the example."""
    options = _options(arguments)
    reporter = ConsoleReporter()

    # An index that is there already is taken as it is.
    config = RunConfig(
        data=options.data,
        out=options.out,
        network=options.network,
        input=options.input,
        layers=options.layers,
    )
    run_index(config, reporter=reporter)

    with open_index(options.out) as index:
        print(f"\nThe strongest images of unit {options.unit} of {options.layer}:")
        for image in index.top(options.layer, options.unit, n=9):
            edges = [round(edge) for edge in image.box]  # of the patch, in pixels of the original
            print(f"{image.rank:3}. {image.activation:8.2f}  {image.label}  {image.key}  {edges}")

        (card,) = index.query("unit_card", layer=options.layer, unit=options.unit).dicts()
        print("\nThe peaks of all images:")
        for name in ("images", "mean", "std", "p50", "p99", "max", "active_fraction", "top_label"):
            print(f"  {name:16} {card[name]}")

        recipe = get_recipe("typical", {"steps": str(options.steps)})
        (rendered,) = render_index(
            index, recipe, layers=[options.layer], units=[options.unit], reporter=reporter
        )
        print(f"\nThe rendering activates it {rendered.ratio:.2f} times as much as the best real image")
        print(f"({rendered.status}): {options.out / rendered.file}")

        (sheet,) = draw_sheets(index, layers=[options.layer], units=[options.unit])
        print(f"Both beside each other: {sheet}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="demo", help="dataset, by default the one that comes with maxact")
    parser.add_argument("--out", type=Path, default=Path("out/first-unit"), help="folder of the index")
    parser.add_argument("--network", default="efficientnet_lite0", help="network by its name")
    parser.add_argument("--input", nargs="*", default=[], metavar="KEY=VALUE", help="such as size=64")
    parser.add_argument("--layers", nargs="*", default=[], help="layers to index, by default all")
    parser.add_argument("--layer", default="blocks.4.2", help="layer of the unit")
    parser.add_argument("--unit", type=int, default=7, help="number of the unit")
    parser.add_argument("--steps", type=int, default=48, help="steps of gradient ascent")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        main()
    except MaxactError as error:
        sys.exit(f"error: {error}")
