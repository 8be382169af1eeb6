"""How well does an explanation of a unit tell which of two patches activates it more?

    python -m bench.truth DATA --part 1/2 --first-unit 40 --recipes fourier facets \\
        --set facets.steps=80
    python -m bench.truth answers-1.json answers-2.json      # answers of people, see docs/study.md

The method follows Borowski et al. 2021 ("Exemplary Natural Images Explain CNN Activations Better than
State-of-the-Art Feature Visualization"), with a second network, the judge, in place of people, as in the
machine interpretability score of Zimmermann et al. 2024. The images are sorted by a hash of their names
and divided into two halves, each of which is indexed. The first half provides the explanations of a unit:
its top patches (`real 1`, `real 4`, `real 9`), or the renderings of a recipe. The second half provides the
questions: each of the 6 images with the unit's highest peaks is paired with each of the 6 images with its
lowest, both cropped to the patch at the peak. The judge's features of a patch are the inputs of its last
linear layer. An answer is correct if the top patch is nearer to the explanation than the low one (cosine
similarity, mean over the explanation's pictures); a tie counts as half. Chance is 50 %.

Patches have the size of the effective receptive field (`viz.planning.effective_field`), or of the whole
input if the position of the field is not known. The full receptive field of a late layer would be less
informative, because the unit ignores most of it. A patch that reaches over a border is moved inside, so
that all patches have the same size.

Features must be centred before they are compared by cosine. There are two ways:

- common: the mean over patches of the first half at random positions is subtracted. This favours an
  explanation for everything that all explanations of its kind share and low patches lack, for instance
  that there is an object rather than empty sky. The control, the explanation of another unit, is
  therefore correct far more often than in half of the cases, at least with real patches.
- own: the mean of all explanations of the same kind in the layer is subtracted from an explanation. This
  removes what they share; the control falls to about 50 %, and what remains is specific to the unit. This
  is the stricter measure.

Accuracies are means over units, with the half-width of a 95 % confidence interval (normal approximation
over units; the images are taken as fixed). `common - real 1` and `own - real 1` are the mean differences
from one real patch, unit by unit. `activation` is the activation of the renderings relative to the best
image of the first half, `fine` the share of renderings with status ok or retried. The last table covers
the units of all layers.

`--part 1/2` uses only the second half of the images and leaves the other for tuning. If a layer has too
few units from `--first-unit` on, its last ones are used. Renderings in OUT are reused, and so are the
judge's features of a patch.

With `--swap`, each half provides the explanations once and the questions once. A layer then has three
tables: with explanations from the first half, with explanations from the second half, and the mean of
both, in which a unit counts with the mean of its two accuracies and of its two differences from one real
patch. The two are not independent, because they belong to the same unit. The interval is therefore
computed over units, with one value per unit. `activation` and `fine` then cover the renderings of both
halves, each relative to the half that it was made from. The last table has the means of all layers.

With `--beside`, each recipe has one more row, `real 9, RECIPE`: its rendering shown beside the nine top
patches, as sheets do. `real 10` tells what one more patch would add. In own centring the mean of all patches
is then subtracted from patches, and that of all renderings from renderings. With `--strip`, the last row of
a layer is a strip of the renderings of all recipes.

`--judge` takes several names, in one or several options: a network, of which the inputs of the last linear
layer are the features; `handmade`, a judge by features that nobody trained (`bench.truth.handmade`);
`self:LAYER`, the measured network itself, by the means of a layer over positions, a control that is not
independent; and `dreamsim:FOLDER`, the package dreamsim with weights from a folder. All judge the same
pictures. Each then has its own tables, and at the end there are tables of the differences from one real patch
by judge, and of the agreement of every two judges: the share of questions that they answer alike, and the
rank correlation of the accuracies over units. Two judges that are right independently of one another, in
shares p and q of the cases, agree in p q + (1 - p)(1 - q). A gain counts where the interval of every
independent judge lies above 0.

`--json` writes the accuracies of every unit: `rows`, as in the tables, with every answer, and with `--swap`,
where those are means, also `directions`: the rows of each direction, by the half that provides the
explanations.

Given files that end in `.json`, the command scores the answers of people, which pages of `maxact study`
save. The questions are the same. `correct` is the mean over units of the share of right answers, with an
interval as above; participants are taken as fixed. In the table by participant, a unit counts 0 or 1.
`correct - real N` is the mean difference from the real patches with the smallest N, unit by unit. Practice
and catch trials do not count.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import torch

from bench.truth.choices import chosen_recipes, read_part
from bench.truth.judges import read_judges
from bench.truth.measure import run
from bench.truth.people import read_answers
from bench.truth.people_tables import people_tables, score_people
from pipeline.errors import MaxactError
from pipeline.progress import ConsoleReporter
from pipeline.visible import visible
from viz.recipes.catalog import describe_recipe

JUDGE = "efficientnet_lite2"
"""The judge if none is named."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the measurement, print its tables, and write the file named by `--json`.

    Args:
        arguments: command-line arguments; by default those of the process.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given and given[0].lower().endswith(".json"):
        _score_people(given)
        return
    options = _parser().parse_args(given)
    options.judge = options.judge or [JUDGE]
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    try:
        measured = run(options, ConsoleReporter())
        made = [
            {"name": recipe.name, **{key: value for key, value, _ in describe_recipe(recipe)}}
            for recipe in chosen_recipes(options.recipes, options.set)
        ]
    except MaxactError as error:
        _stop(error)
    if options.json is not None:
        settings = {key: str(getattr(options, key)) for key in ("network", "part", "seed")}
        settings["judge"] = ", ".join(read_judges(options.judge))
        found = asdict(measured)
        if not options.swap:
            del found["directions"]
        options.json.write_text(json.dumps({**settings, "recipes": made, **found}, indent=1))


def _score_people(arguments: Sequence[str]) -> None:
    """Print the tables of the answers of people, and write the file named by `--json`."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.truth", description="Score the answers to a study of `maxact study`."
    )
    parser.add_argument("answers", nargs="+", type=Path, help="files that the page saved")
    parser.add_argument("--json", type=Path, help="file for the accuracies of every unit")
    options = parser.parse_args(arguments)
    try:
        people = read_answers(options.answers)
    except MaxactError as error:
        _stop(error)
    print(people_tables(people))
    if options.json is not None:
        rows = [asdict(row) for row in score_people(people)]
        options.json.write_text(json.dumps({"study": people[0].study, "rows": rows}, indent=1))


def _stop(error: MaxactError) -> NoReturn:
    """Print one line, and exit with 2 if the command must be typed differently, otherwise with 1."""
    print(f"error: {visible(str(error))}", file=sys.stderr)
    sys.exit(error.exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.truth", description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="a folder of photographs, or any other dataset")
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--weights", help="file of the network's weights, `random`, or published ones")
    parser.add_argument(
        "--judge",
        action="append",
        help="networks, handmade, self:LAYER or dreamsim:FOLDER, separated by commas or given "
        f"several times (default: {JUDGE})",
    )
    parser.add_argument(
        "--layers",
        nargs="+",
        default=["blocks.2.1", "blocks.3.2", "blocks.4.2", "blocks.6.0"],
    )
    parser.add_argument("--recipes", nargs="*", default=["fourier"], help="names, or TOML files")
    parser.add_argument("--set", nargs="+", default=[], metavar="RECIPE.KEY=VALUE")
    parser.add_argument(
        "--robust-copy", type=Path, metavar="FILE", help="for recipe robust, see `maxact robust train`"
    )
    parser.add_argument("--generator", help="for recipe prior, see `maxact render --help`")
    parser.add_argument("--generator-weights", type=Path, metavar="FILE", help="likewise")
    parser.add_argument("--units", type=int, default=24)
    parser.add_argument("--first-unit", type=int, default=0)
    parser.add_argument(
        "--swap", action="store_true", help="use each half once for explanations and once for questions"
    )
    parser.add_argument(
        "--beside", action="store_true", help="also show renderings beside the nine top patches"
    )
    parser.add_argument(
        "--strip", action="store_true", help="also show the renderings of all recipes together"
    )
    parser.add_argument("--images", type=int, help="number of images to use")
    parser.add_argument(
        "--part", type=read_part, default=(0, 1), help="part of the images to use, such as 1/2"
    )
    parser.add_argument("--out", type=Path, default=Path("out/truth"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the accuracies of every unit")
    parser.add_argument("--threads", type=int, help="use 1 if other work keeps the cores busy")
    return parser


if __name__ == "__main__":
    main()
