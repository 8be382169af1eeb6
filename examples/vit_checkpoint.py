"""Index tar shards with a transformer of timm and your own weights, and look inside one block.

    python examples/vit_checkpoint.py 'shards/set-{000..007}.tar' \\
        --architecture vit_small_patch16_224 --weights checkpoint.pth --block 8

Prints the MLP neurons of the block that tell labels apart best, each with its strongest images and the place
where it is active in them, and for each attention head the image in which the class token looks most sharply.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from maxact import ConsoleReporter, MaxactError, RunConfig, draw_sheets, open_index, run_index


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the example."""
    options = _options(arguments)
    neurons = f"blocks.{options.block}.mlp.fc2.input"  # after the nonlinearity
    pattern = f"blocks.{options.block}.attn.from_cls"  # a unit for each head
    config = RunConfig(
        data=options.data,
        out=options.out,
        network=f"timm:{options.architecture}",
        weights=options.weights,
        layers=(neurons, pattern),
        device=options.device,
        precision="fp32",
    )
    run_index(config, reporter=ConsoleReporter())

    with open_index(options.out) as index:
        found = index.query("most_selective", layer=neurons, n=options.neurons).dicts()
        for row in found:
            print(f"\nneuron {row['unit']}: selectivity {row['selectivity']:.2f} for {row['top_label']}")
            for image in index.top(neurons, row["unit"], n=5):
                place = f"row {image.y}, column {image.x}"
                print(f"  {image.activation:8.3f} at {place}  {image.label}  {image.key}")

        (heads,) = (layer.units for layer in index.layers if layer.name == pattern)
        print("\nThe class token looks most sharply, by head:")
        for head in range(heads):
            first = index.top(pattern, head, n=1)
            for image in first:
                share = f"{image.activation:.0%} of its attention"
                print(f"  head {head}: {share} on row {image.y}, column {image.x} of {image.key}")

        sheets = draw_sheets(
            index, layers=[neurons], units=[row["unit"] for row in found], spotlight=options.spotlight
        )
        print(f"\nThe neurons' images: {sheets[0]}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="+", help="shards, patterns such as set-{000..127}.tar, or folders")
    parser.add_argument("--architecture", default="vit_small_patch16_224", help="name in timm")
    parser.add_argument("--weights", help="checkpoint; `random` for none, by default those of timm")
    parser.add_argument("--out", type=Path, default=Path("out/vit"), help="folder of the index")
    parser.add_argument("--block", type=int, default=8, help="number of the block, from 0")
    parser.add_argument("--neurons", type=int, default=8, help="how many neurons are shown")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--spotlight", action="store_true", help="outline where a neuron is active; runs the images again"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        main()
    except MaxactError as error:
        sys.exit(f"error: {error}")
