"""How telling is an explanation of a unit: which of two patches drives it more?

    python -m bench.truth DATA --part 1/2 --first-unit 40 --recipes fourier facets \\
        --set facets.steps=80

In the manner of Borowski et al. 2021 ("Exemplary Natural Images Explain CNN Activations Better than
State-of-the-Art Feature Visualization"), with another network in place of people, as in the machine
interpretability score of Zimmermann et al. 2024. The images, in the order of a hash of their names,
are cut into two halves, each indexed by itself. Explanations of a unit come from the first: its top
patches (`real 1`, `real 4`, `real 9`), or the renderings of a recipe. Questions come from the
second: each of the 6 images with the unit's highest peaks against each of the 6 with its lowest,
seen as the patch at the peak. The judge's features of a patch are what its last linear layer is
fed; an answer is right when the top patch is nearer to the explanation (cosine, mean over the
explanation's pictures) than the low one, and half right on a tie. Chance is 50 %.

Patches are as large as the effective receptive field (`viz.planning.effective_field`); a field of
unknown place is the whole input. What one sees of a late layer's theoretical
field says little: most of it is not looked at. A patch near a border
is moved inside, so that all have one size.

Features have to be centred before a cosine says anything, and there are two ways:

- common: minus the mean over patches of the first half at random positions. An explanation is then
  helped by what all explanations of its kind share and low patches lack: that something is there
  rather than empty sky. So the explanation of another unit, the control, is right far more often
  than in half of the cases, at least among real patches.
- own: an explanation minus the mean of all explanations of its kind in the layer. What they share
  is gone, the control falls to about 50 %, and what is left is about this unit. The stricter
  measure.

Accuracies are means over units, with the half-width of a 95 % confidence interval (normal
approximation, over units: the images are taken as given). `common - real 1` and `own - real 1` are
mean differences from one real patch, unit by unit. Activations are the renderings', in shares of
the best of the first half; `fine` is the share of renderings with status ok or retried. The last
table has the units of all layers.

`--part 1/2` uses the second half of the images only, and leaves the other to tuning. A layer with
too few units from `--first-unit` on gives its last ones. Renderings in OUT are used again, and so
is what the judge saw in a patch.

`--swap` lets each half explain, and ask, once. A layer then has three tables: the first half
explains, the second half explains, and the mean of both, where a unit counts with the mean of its
two accuracies and of its two differences from one real patch. The two are not independent, being of
one unit, so that the interval stays one over units: a unit is one value in it, not two.
Activations and `fine` are there those of both halves' renderings, each in shares of the best of the
half that it was made from. The last table has the means of all layers.

`--json` writes the accuracies of every unit: `rows`, as the tables have them, and with `--swap`,
where those are the means, `directions`: the rows of each, by the half that explains.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from bench.truth.choices import chosen_recipes, read_part
from bench.truth.measure import run
from pipeline.errors import MaxactError
from pipeline.progress import ConsoleReporter
from viz.recipes.catalog import describe_recipe


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write what `--json` asks for.

    Args:
        arguments: of the command line, by default the process's own.
    """
    options = _parser().parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    try:
        measured = run(options, ConsoleReporter())
        made = [
            {"name": recipe.name, **{key: value for key, value, _ in describe_recipe(recipe)}}
            for recipe in chosen_recipes(options.recipes, options.set)
        ]
    except MaxactError as error:
        sys.exit(f"error: {error}")
    if options.json is not None:
        settings = {key: str(getattr(options, key)) for key in ("network", "judge", "part", "seed")}
        found = asdict(measured)
        if not options.swap:
            del found["directions"]
        options.json.write_text(json.dumps({**settings, "recipes": made, **found}, indent=1))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.truth", description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="a folder of photographs, or any other dataset")
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--judge", default="efficientnet_lite2")
    parser.add_argument(
        "--layers",
        nargs="+",
        default=["blocks.2.1", "blocks.3.2", "blocks.4.2", "blocks.6.0"],
    )
    parser.add_argument("--recipes", nargs="*", default=["fourier"], help="names, or TOML files")
    parser.add_argument("--set", nargs="+", default=[], metavar="RECIPE.KEY=VALUE")
    parser.add_argument("--generator", help="of the recipe prior, see `maxact render --help`")
    parser.add_argument("--units", type=int, default=24)
    parser.add_argument("--first-unit", type=int, default=0)
    parser.add_argument("--swap", action="store_true", help="let each half explain, and ask, once")
    parser.add_argument("--images", type=int, help="use only so many")
    parser.add_argument("--part", type=read_part, default=(0, 1), help="of the images, such as 1/2")
    parser.add_argument("--out", type=Path, default=Path("out/truth"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the accuracies of every unit")
    parser.add_argument("--threads", type=int, help="1 where other work keeps the cores busy")
    return parser


if __name__ == "__main__":
    main()
