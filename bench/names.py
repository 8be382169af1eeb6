"""How well do labels name units, and how long does it take?

    python bench/names.py [DATA ...] [--network NAME] [--shuffles 3] [--units 20000]

indexes DATA (by default the demo), whose images must have labels, in a temporary folder with the block
outputs of a network, and prints for each layer its units, those with a name, and medians over these: of the
correlation of the first name over all images and over the half that did not choose it, and of the weighted
sum of all names over that half. It does the same with the labels shuffled among the images, `--shuffles`
times; all names are then false.

Last, it names `--units` units by all of WordNet's nodes over ImageNet's 1,000 classes, from sums of random
peaks of which each follows a few of the nodes; and `--word-units` units in words, by embeddings that are
drawn at random, so that each word is a false one.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.config import RunConfig
from pipeline.data.dataset import Dataset, open_dataset
from pipeline.data.shard import BadSample, Sample, Shard
from pipeline.errors import MaxactError
from pipeline.naming import hierarchy_file
from pipeline.naming.concepts import with_hierarchy
from pipeline.naming.hierarchy_file import imagenet_hierarchy
from pipeline.naming.name_units import name_units
from pipeline.naming.word_names import LayerSample, name_layer
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from pipeline.state.label_sums import LabelSums

LAYERS = """
WITH best AS (
    SELECT layer, unit, arg_min(correlation, rank) AS r, arg_min(held_out, rank) AS held_out,
        arg_max(combined, rank) AS combined, count(*) AS names
    FROM names GROUP BY layer, unit
)
SELECT layers.layer, any_value(layers.units) AS units, count(best.unit) AS named, avg(best.names) AS names,
    median(r) AS r, median(held_out) AS held_out, median(combined) AS combined
FROM layers LEFT JOIN best USING (layer) GROUP BY layers.layer ORDER BY any_value(layers.ordinal)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shuffled(Shard):
    """A shard whose images have the labels of other images.

    Args:
        shard: the true one.
        labels: by key.
    """

    shard: Shard
    labels: Mapping[str, str]

    def samples(self) -> Generator[Sample | BadSample]:
        for sample in self.shard.samples():
            known = isinstance(sample, Sample) and sample.label is not None
            yield replace(sample, label=self.labels[sample.key]) if known else sample

    def read(self, key: str, offset: int, nbytes: int) -> bytes:
        return self.shard.read(key, offset, nbytes)


def shuffle(dataset: Dataset, seed: int) -> Dataset:
    """The dataset with its labels in random order."""
    samples = [sample for shard in dataset.shards for sample in shard.samples()]
    keys = [sample.key for sample in samples if isinstance(sample, Sample) and sample.label is not None]
    labels = [sample.label for sample in samples if isinstance(sample, Sample) and sample.label is not None]
    order = np.random.default_rng(seed).permutation(len(keys))
    given = {key: labels[place] for key, place in zip(keys, order, strict=True)}
    shards = tuple(
        Shuffled(
            name=shard.name,
            size=shard.size,
            count_hint=shard.count_hint,
            digest=shard.digest,
            shard=shard,
            labels=given,
        )
        for shard in dataset.shards
    )
    return Dataset(dataset.name, shards, dataset.data)


def measure(dataset: Dataset, network: str, folder: Path) -> list[Sequence[object]]:
    """A row for each layer of an index of the dataset."""
    config = RunConfig(data=dataset.data, out=folder, network=network, top=1, compile="off")
    run_index(config, dataset=dataset)
    with open_index(folder) as index:
        return index.sql(LAYERS).rows


def time_naming(units: int, seed: int = 0) -> None:
    """Name units of 1,300 images a class, whose peaks are noise and four of WordNet's nodes each."""
    path = Path(hierarchy_file.__file__).with_name("wordnet.csv")
    with open(path, encoding="utf-8", newline="") as file:
        labels = tuple(row["id"] for row in csv.DictReader(file) if row["class"] == "1")
    hierarchy = imagenet_hierarchy(labels)
    assert hierarchy is not None
    concepts = with_hierarchy(labels, hierarchy)
    rng = np.random.default_rng(seed)
    images = rng.integers(600, 700, (2, len(labels)))
    members = concepts.members.matrix()
    share = members.mean(axis=1)
    scale = np.sqrt(share * (1 - share))
    mean = np.zeros((len(labels), units))
    for _ in range(4):
        chosen = rng.integers(0, len(concepts.names), units)
        mean += members[chosen].T * rng.random(units) / scale[chosen]
    total = images[:, :, None] * (mean + rng.normal(size=mean.shape) / np.sqrt(650))
    squares = (images[:, :, None] * (mean**2 + 1)).sum(axis=1)
    started = time.perf_counter()
    names = list(name_units(LabelSums(labels, images, total, squares), concepts))
    seconds = time.perf_counter() - started
    rows = sum(len(found.unit) for found in names)
    print(
        f"| labels and WordNet, sums that follow concepts | {units:,} | {len(concepts.names):,} "
        f"| {seconds:.1f} | {rows:,} names |"
    )


def time_words(units: int, words: int = 2_000, dimension: int = 512, seed: int = 0) -> None:
    """Name the units of a layer in words: 64 highest images and 40 others each, embedded at random."""
    rng = np.random.default_rng(seed)
    each = 104
    entries = np.arange(units * each)
    patches = rng.normal(size=(len(entries), dimension)).astype(np.float32)
    spoken = rng.normal(size=(words, dimension)).astype(np.float32)
    for vectors in (patches, spoken):
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    place = entries % each
    peak = np.sort(rng.gamma(2.0, size=(units, each)))[:, ::-1].reshape(-1)
    sample = LayerSample(
        units, entries // each, entries, np.where(place < 64, place + 1, 0), peak, entries % 2, entries
    )
    started = time.perf_counter()
    names = list(name_layer(sample, patches, spoken))
    seconds = time.perf_counter() - started
    ranked, sums = (
        len({name.unit for name in names if name.source == source}) for source in ("words", "linear")
    )
    print(
        f"| words, random embeddings of {dimension} | {units:,} | {words:,} | {seconds:.1f} "
        f"| falsely {ranked:,} by ranked words, {sums:,} by sums |"
    )


def print_rows(rows: Sequence[Sequence[object]]) -> None:
    print(
        "| layer | units | named | names each | r | held out | sum, held out |\n|---|---|---|---|---|---|---|"
    )
    for layer, units, named, *values in rows:
        shown = " | ".join("" if value is None else f"{value:.2f}" for value in values)
        print(f"| {layer} | {units} | {named} | {shown} |")
    units, named = (sum(int(row[place]) for row in rows) for place in (1, 2))
    print("\n| labels | units | named |\n|---|---|---|")
    print(f"| as they are | {units:,} | {named:,} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="*", default=["demo"], help="the images; by default the demo")
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--shuffles", type=int, default=3)
    parser.add_argument("--units", type=int, default=20_000)
    parser.add_argument("--word-units", type=int, default=2_048)
    options = parser.parse_args()
    try:
        dataset = open_dataset(options.data)
    except MaxactError as error:
        sys.exit(f"error: {error}")
    with tempfile.TemporaryDirectory() as folder:
        print_rows(measure(dataset, options.network, Path(folder) / "true"))
        for seed in range(options.shuffles):
            rows = measure(shuffle(dataset, seed), options.network, Path(folder) / str(seed))
            named = sum(int(row[2]) for row in rows)
            units = sum(int(row[1]) for row in rows)
            print(f"| shuffled, seed {seed} | {units:,} | {named:,} |")
    print("\n| names of | units | concepts or words | seconds | named |\n|---|---|---|---|---|")
    time_naming(options.units)
    time_words(options.word_units)


if __name__ == "__main__":
    main()
