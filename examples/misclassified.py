"""Find the most certain mistakes of a classifier, and the units that pull each to the wrong class.

    python examples/misclassified.py val/ --network torchvision:resnet18

The images' labels must be classes of the network: their numbers, ImageNet's ids (n01440764), or names. By
default this is Imagenette, which torchvision downloads (about 100 MB).

The pull of a unit is its activation times the gradient of the difference of the two classes' outputs, summed
over positions: how much the difference would change, to first order, if the unit were silent.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from maxact import ConsoleReporter, MaxactError, RunConfig, draw_sheets, open_index, run_index
from pipeline.explain.explainer import Explainer
from pipeline.explain.photographs import read_photograph
from pipeline.explain.pulls import class_pulls
from pipeline.query.index import Index
from pipeline.query.indexed_network import index_network
from pipeline.runs.predictions import units_of_labels


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the example."""
    options = _options(arguments)
    config = RunConfig(
        data=options.data,
        out=options.out,
        network=options.network,
        weights=options.weights,
        input=options.input,
        layers=options.layers,
        class_names=options.class_names,
    )
    run_index(config, reporter=ConsoleReporter())

    with open_index(options.out) as index:
        pulling = _explain(index, options.images, options.units)
        layer = index.layers[-2].name
        sheets = draw_sheets(index, layers=[layer], units=pulling)
        print(f"\nWhat these units respond to: {sheets[0]}")


def _explain(index: Index, images: int, count: int) -> list[int]:
    """Print what pulls to the wrong class in the worst mistakes; returns these units of the last layer."""
    counted = "SELECT count(correct), avg(correct::INT) FROM predictions WHERE rank = 1"
    known, right = index.sql(counted).rows[0]
    mistakes = index.query("misclassified", n=images).dicts()
    if not mistakes:
        sys.exit("there are no mistakes" if known else "no label is a class; see --class-names")
    print(f"\n{right:.1%} of {known:,} images are given their label. The most certain mistakes:")

    *_, last, classifier = index.layers
    rows = index.sql("SELECT DISTINCT label FROM images WHERE label IS NOT NULL").rows
    class_of = units_of_labels([label for (label,) in rows], index.class_names(classifier.name) or ())
    explainer = Explainer(index, index_network(index))
    pulling: set[int] = set()
    for mistake in mistakes:
        key, label, predicted = mistake["key"], mistake["label"], mistake["predicted"]
        print(f"\n{key}: {label}, taken for {predicted} ({mistake['probability']:.0%})")
        classes = (classifier, mistake["unit"], class_of[label][0])
        _, pulls = class_pulls(explainer, read_photograph(index, key), classes, n=count)
        for pull in (each for each in pulls if each.layer.name == last.name and each.pull > 0):
            liked = index.query("unit_labels", layer=last.name, unit=pull.unit, n=2).dicts()
            words = " and ".join(str(row["label"]) for row in liked)
            print(f"  unit {pull.unit} of {last.name} pulls by {pull.pull:.2f}; it prefers {words}")
            pulling.add(pull.unit)
    return sorted(pulling)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("data", nargs="*", default=["torchvision:imagenette-160px:val"], help="labelled images")
    add("--out", type=Path, default=Path("out/misclassified"), help="folder of the index")
    add("--network", default="efficientnet_lite0", help="classifier by its name")
    add("--weights", help="file of weights, by default those that are published")
    add("--input", nargs="*", default=[], metavar="KEY=VALUE", help="such as size=64")
    add("--layers", nargs="*", default=[], help="layers to index, the last a classifier; by default all")
    add("--class-names", help="file with a class a line, if labels are neither ids nor names")
    add("--images", type=int, default=5, help="how many mistakes are shown")
    add("--units", type=int, default=3, help="how many units of each mistake")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        main()
    except MaxactError as error:
        sys.exit(f"error: {error}")
