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

Patches are as large as the effective receptive field (`viz.effective`); a field of unknown place is
the whole input. What one sees of a late layer's theoretical field says little: most of it is not
looked at. A patch near a border is moved inside, so that all have one size.

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
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn import functional

from pipeline.config import RunConfig
from pipeline.decode import decode
from pipeline.errors import MaxactError, RenderError, UsageError
from pipeline.folders import FolderShard
from pipeline.geometry import Box
from pipeline.layers import Layer
from pipeline.networks import Network, load_network
from pipeline.progress import ConsoleReporter, Reporter, Silent
from pipeline.query import Index, Side, TopImage, open_index
from pipeline.remote import is_url
from pipeline.run import run_index
from pipeline.shards import IMAGE_SUFFIXES, Sample
from pipeline.sources import Dataset, open_dataset
from viz.crops import choose_images, seen_window
from viz.effective import effective_layer
from viz.facets import penultimate
from viz.index_renders import index_network, render_index
from viz.measure import open_picture
from viz.objective import centre
from viz.recipe import describe_recipe, get_recipe
from viz.recipe_kinds import Dream, Latent, Maco, Recipe
from viz.renders import Rendered

REAL = (1, 4, 9)
"""Top patches that explain a unit, for reference."""

ASKED = 6
"""Top images, and lowest ones, that a unit's questions are made of."""

TOP = 32
"""Images that the indexes keep of a unit and side: what recipes may start from."""

FIELD_PHOTOGRAPHS = 24
"""Whose gradients give the effective receptive field."""

RANDOM_PATCHES = 256
"""At most, of which the common mean is taken."""

JUDGED = 16
"""Patches that are enlarged together."""

NORMAL_95 = 1.96
"""Standard errors to either side in a 95 % interval of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Source:
    """One image of DATA: a local file to link to, or bytes that are read when they are needed."""

    name: str
    group: str
    file: Path | None


@dataclass(frozen=True, slots=True)
class Explained:
    """The explanations of one kind in a layer.

    Args:
        kind: `real 4`, or a recipe.
        features: by unit, (picture, feature) of the judge.
        rows: of the renderings.
    """

    kind: str
    features: Mapping[int, Tensor]
    rows: tuple[Rendered, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """How telling explanations of one kind are: accuracies of each unit, in both centrings.

    Args:
        units: in order.
        common, own: of a unit's own explanation.
        other_common, other_own: of the next unit's explanation, the control.
    """

    units: tuple[int, ...]
    common: tuple[float, ...]
    own: tuple[float, ...]
    other_common: tuple[float, ...]
    other_own: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the tables: explanations of one kind in a layer, or in all of them.

    Args:
        layer: by name.
        explanation: `real 4`, or a recipe.
        pictures: of a unit, mean.
        told: accuracies of each unit.
        common_gain, own_gain: of each unit, accuracy less that of `real 1`.
        ratios: of each rendering, activation over the dataset's best.
        statuses: of each rendering.
    """

    layer: str
    explanation: str
    pictures: float
    told: Told
    common_gain: tuple[float, ...]
    own_gain: tuple[float, ...]
    ratios: tuple[float | None, ...]
    statuses: tuple[str, ...]


# ---- the images, split ----


def list_sources(dataset: Dataset) -> Iterator[Source]:
    """The images of a dataset.

    They are grouped by the photograph they were cut from, where that is known, or stand alone.
    """
    for shard in dataset.shards:
        if isinstance(shard, FolderShard) and not is_url(shard.root):
            for path, _ in shard.files:
                yield Source(path, path, Path(shard.root).resolve() / path)
            continue
        for sample in shard.samples():
            if isinstance(sample, Sample):
                yield Source(_name(sample), sample.origin or sample.key, None)


def _name(sample: Sample) -> str:
    """A file name for an image that is not a file, in a folder of its class."""
    suffix = sample.key.rpartition(".")[2].lower()
    digest = hashlib.sha256(sample.key.encode()).hexdigest()[:16]
    name = f"{digest}.{suffix if suffix in IMAGE_SUFFIXES else 'jpg'}"
    return name if sample.label is None else f"{sample.label.replace('/', '_').strip('. ')}/{name}"


def split(
    sources: Sequence[Source], part: int = 0, parts: int = 1, images: int | None = None
) -> tuple[list[Source], list[Source]]:
    """Two halves of one part of the images, in the order of a hash of their names.

    Args:
        sources: in any order.
        part: which, from 0.
        parts: how many, of equal size.
        images: only so many of all.
    """
    ordered = sorted(sources, key=lambda each: (_hash(each.group), _hash(each.name)))[:images]
    first, last = (len(ordered) * number // parts for number in (part, part + 1))
    middle = (first + last) // 2
    return ordered[first:middle], ordered[middle:last]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def lay_out(folder: Path, sources: Sequence[Source], dataset: Dataset) -> None:
    """Make a folder dataset of some images: links where they are files, copies otherwise.

    Raises:
        UsageError: when the folder holds other images already.
    """
    wanted = {source.name: source.file for source in sources}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if there - wanted.keys():
        raise UsageError(f"{folder} holds images of another split; give another --out")
    missing = wanted.keys() - there
    for name in missing:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        file = wanted[name]
        if file is not None:
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(file)
    if all(wanted[name] is not None for name in missing):
        return
    for shard in dataset.shards:
        for sample in shard.samples():
            if isinstance(sample, Sample) and (name := _name(sample)) in missing:
                (folder / name).write_bytes(sample.data)


# ---- patches ----


def cut(picture: Tensor, box: Box) -> Tensor:
    """Cut a box out of a picture; one that reaches over a border is moved inside.

    Args:
        picture: (channel, y, x).
        box: in its pixels.

    Returns:
        (channel, y, x) of the box's size, or the picture's where that is smaller.
    """
    rows, columns = (
        _inside(start, end, length)
        for start, end, length in (
            (box.top, box.bottom, picture.shape[1]),
            (box.left, box.right, picture.shape[2]),
        )
    )
    return picture[:, rows, columns]


def _inside(start: float, end: float, length: int) -> slice:
    size = min(max(1, round(end - start)), length)
    first = min(max(round(start), 0), length - size)
    return slice(first, first + size)


class Patches:
    """Patches of an index's images and renderings, cut to what a layer's units look at.

    Args:
        index: open.
        network: that made it.
        layer: of the index.
        field: the same layer with its effective receptive field.
    """

    def __init__(self, index: Index, network: Network, layer: Layer, field: Layer) -> None:
        self.index, self.network, self.layer, self.field = index, network, layer, field

    def pictures(self, image_ids: Sequence[int]) -> dict[int, Tensor]:
        """Images in network geometry, (channel, y, x) uint8, by image_id."""
        return {
            image_id: decode(data, self.network.preprocess).pixels
            for image_id, data in self.index.iterate_bytes(image_ids)
        }

    def strongest(self, unit: int, count: int, side: Side = "high") -> list[TopImage]:
        """A unit's strongest images on one side, each photograph once."""
        found = self.index.top(self.layer.name, unit, n=TOP, side=side)
        return choose_images(found, count, per_origin=1)

    def at_peaks(self, images: Sequence[TopImage]) -> list[Tensor]:
        """The patch at the unit's peak in each of the images."""
        pictures = self.pictures([image.image_id for image in images])
        return [
            cut(pictures[image.image_id], self._window(image.y, image.x)) for image in images
        ]  # fmt: skip

    def anywhere(self, count: int, seed: int) -> list[Tensor]:
        """Patches at random positions, one of each of up to `count` images."""
        generator = Generator().manual_seed(seed)
        pictures = self.pictures(some_images(self.index, count))
        grid = self.layer.grid_h, self.layer.grid_w
        return [
            cut(
                picture,
                self._window(*(int(torch.randint(n, (), generator=generator)) for n in grid)),
            )
            for picture in pictures.values()
        ]

    def of_rendering(self, row: Rendered, recipe: Recipe) -> Tensor:
        """What the target looks at in a rendering of the grid's centre."""
        y, x = centre(self.layer.grid_h), centre(self.layer.grid_w)
        seen, window = self.layer.box(y, x), self._window(y, x)
        height, width = self.network.input_shape[1:]
        zoom = recipe.enlarge if isinstance(recipe, Maco) else 1.0
        top, bottom = _looked_at(
            (window.top, window.bottom), (max(seen.top, 0), min(seen.bottom, height)),
            (row.box_top, row.box_bottom), zoom,
        )  # fmt: skip
        left, right = _looked_at(
            (window.left, window.right), (max(seen.left, 0), min(seen.right, width)),
            (row.box_left, row.box_right), zoom,
        )  # fmt: skip
        picture = open_picture(self.index.out / row.file, self.network.input_shape[0])
        return cut(picture, Box(left, top, right, bottom))

    def _window(self, y: int, x: int) -> Box:
        return seen_window(self.field, y, x, self.network.preprocess)


Span = tuple[float, float]
"""First and last edge along one axis, in pixels."""


def _looked_at(window: Span, seen: Span, recorded: Span, zoom: float) -> Span:
    """Where the effective receptive field lies in a rendering, along one axis.

    Args:
        window: the effective field in the input.
        seen: what lies in the input of the theoretical one; its middle is not the target's where
            a border cuts it.
        recorded: the box in the picture: that field, or a smaller one around the target.
        zoom: pixels of the picture to one of the input.

    Returns:
        In the picture, no longer than `recorded`.
    """
    length = (recorded[1] - recorded[0]) / zoom
    middle = (window[0] + window[1]) / 2 - seen[0] if length > seen[1] - seen[0] - 1 else length / 2
    half = min(window[1] - window[0], length) / 2
    return recorded[0] + zoom * (middle - half), recorded[0] + zoom * (middle + half)


def some_images(index: Index, count: int) -> list[int]:
    """image_ids of up to `count` images, the same whenever they are asked for."""
    text = "SELECT image_id FROM images ORDER BY hash(image_id), image_id LIMIT $n"
    return [row[0] for row in index.sql(text, n=count).rows]


# ---- the judge ----


class Judge:
    """Another network, which remembers the features of every patch it was shown.

    Args:
        network: any.
        memory: where they are kept for the next run; nowhere without.
    """

    def __init__(self, network: Network, memory: Path | None = None) -> None:
        self.network, self.memory = network, memory
        self.known: dict[str, Tensor] = {}
        if memory is not None and memory.exists():
            self.known = torch.load(memory)

    def __call__(self, patches: Sequence[Tensor]) -> Tensor:
        """The features of patches enlarged to the network's input.

        Args:
            patches: each (channel, y, x) uint8, of any size.

        Returns:
            (patch, feature) float32.
        """
        named = [(_digest(patch), patch) for patch in patches]
        new = {name: patch for name, patch in named if name not in self.known}
        names = list(new)
        for first in range(0, len(names), JUDGED):
            chunk = names[first : first + JUDGED]
            pixels = torch.cat([self._enlarged(new[name]) for name in chunk])
            self.known |= zip(chunk, penultimate(self.network, pixels), strict=True)
        return torch.stack([self.known[name] for name, _ in named])

    def _enlarged(self, patch: Tensor) -> Tensor:
        size = self.network.preprocess.height, self.network.preprocess.width
        enlarged = functional.interpolate(
            patch[None].float(), size, mode="bicubic", antialias=True
        )  # fmt: skip
        return enlarged.round().clamp(0, 255).to(torch.uint8)

    def save(self) -> None:
        """Keep what is known; whole or not at all."""
        if self.memory is not None:
            new = self.memory.with_suffix(".new")
            torch.save({name: feature.clone() for name, feature in self.known.items()}, new)
            new.replace(self.memory)


def _digest(patch: Tensor) -> str:
    shape = "x".join(str(length) for length in patch.shape)
    return hashlib.sha256(f"{shape} ".encode() + patch.contiguous().numpy().tobytes()).hexdigest()


def accuracy(top: Tensor, low: Tensor, explanation: Tensor) -> float:
    """Of all pairs of a top and a low patch, the share in which the top one is the nearer.

    Args:
        top: (patch, feature), centred, as are the others.
        low: likewise.
        explanation: (picture, feature).

    Returns:
        0..1; a tie counts half, so that `top` and `low` exchanged give the rest to 1.
    """
    pictures = functional.normalize(explanation, dim=1)
    high, rest = (
        (functional.normalize(each, dim=1) @ pictures.T).mean(1) for each in (top, low)
    )  # fmt: skip
    apart = high[:, None] - rest[None]
    right = int((apart > 0).sum()) + int((apart == 0).sum()) / 2
    return right / apart.numel()


def tell(
    questions: Mapping[int, tuple[Tensor, Tensor]], features: Mapping[int, Tensor], common: Tensor
) -> Told:
    """Let explanations of one kind answer the questions of their units, and of their neighbours.

    Args:
        questions: by unit, (patch, feature) of its top and of its lowest images.
        features: by unit, (picture, feature) of its explanation.
        common: (feature,) of patches anywhere.
    """
    units = [unit for unit in questions if unit in features]
    own = torch.cat([features[unit] for unit in units]).mean(0)
    columns: list[list[float]] = [[], [], [], []]
    for number, unit in enumerate(units):
        top, low = (each - common for each in questions[unit])
        neighbour = units[(number + 1) % len(units)]
        for place, (explaining, mean) in enumerate(
            ((unit, common), (unit, own), (neighbour, common), (neighbour, own))
        ):
            columns[place].append(accuracy(top, low, features[explaining] - mean))
    return Told(tuple(units), *(tuple(column) for column in columns))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and the half-width of its 95 % confidence interval (normal approximation)."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, NORMAL_95 * math.sqrt(variance / len(values))


# ---- one layer ----


def ask(patches: Patches, units: Sequence[int], judge: Judge) -> dict[int, tuple[Tensor, Tensor]]:
    """The questions of each unit: the judge's features of its top and of its lowest patches.

    Raises:
        UsageError: when there are too few images for twelve different ones.
    """
    asked = {}
    for unit in units:
        high, low = (patches.strongest(unit, ASKED, side) for side in ("high", "low"))
        if len({image.photograph for image in high + low}) < 2 * ASKED:
            raise UsageError(
                f"{patches.index.out} has too few photographs for questions about "
                f"{patches.layer.name} unit {unit}: {2 * ASKED} different ones are needed"
            )
        features = judge(patches.at_peaks(high + low))
        asked[unit] = (features[:ASKED], features[ASKED:])
    return asked


def explain(
    patches: Patches,
    units: Sequence[int],
    judge: Judge,
    rendered: Mapping[Recipe, list[Rendered]],
) -> Iterator[Explained]:
    """All explanations of a layer's units: real patches, then renderings by recipe."""
    most = max(REAL)
    real = {
        unit: judge(patches.at_peaks(patches.strongest(unit, most))) for unit in units
    }  # fmt: skip
    for count in REAL:
        yield Explained(f"real {count}", {unit: found[:count] for unit, found in real.items()})
    for recipe, rows in rendered.items():
        features = judge([patches.of_rendering(row, recipe) for row in rows])
        by_unit = {
            unit: features[[row.unit == unit for row in rows]]
            for unit in dict.fromkeys(row.unit for row in rows)
        }
        yield Explained(recipe.name, by_unit, tuple(rows))


HEADER = (
    "| explanation | pictures | units | common, % | own, % | common - real 1 | own - real 1 "
    "| other unit: common | other unit: own | activation | fine |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def row_of(layer: Layer, explained: Explained, told: Told, real: Told | None) -> Row:
    """What the tables say of one kind of explanations.

    Args:
        layer: of the units.
        explained: what was judged.
        told: how that went.
        real: the same of one real patch; None where this is that.
    """
    number = {unit: place for place, unit in enumerate((real or told).units)}
    places = [number[unit] for unit in told.units]
    common, own = (
        tuple(mine - theirs[place] for mine, place in zip(accuracies, places, strict=True))
        for accuracies, theirs in (
            (told.common, (real or told).common),
            (told.own, (real or told).own),
        )
    )
    return Row(
        layer.name,
        explained.kind,
        sum(len(explained.features[unit]) for unit in told.units) / len(told.units),
        told,
        common,
        own,
        tuple(row.ratio for row in explained.rows),
        tuple(row.status for row in explained.rows),
    )


def pooled(rows: Sequence[Row]) -> Row:
    """The same explanations of all layers as one row; every unit counts alike."""
    joined = {
        field.name: tuple(each for row in rows for each in getattr(row.told, field.name))
        for field in fields(Told)
    }
    common, own, ratios, statuses = (
        tuple(each for row in rows for each in getattr(row, name))
        for name in ("common_gain", "own_gain", "ratios", "statuses")
    )
    count = sum(len(row.told.units) for row in rows)
    pictures = sum(row.pictures * len(row.told.units) for row in rows) / count
    kind = rows[0].explanation
    return Row("all layers", kind, pictures, Told(**joined), common, own, ratios, statuses)


def table_row(row: Row) -> str:
    """A row as `HEADER` names its cells."""
    ratios = [ratio for ratio in row.ratios if ratio is not None]
    fine = [status in ("ok", "retried") for status in row.statuses]
    first = row.explanation == "real 1"
    cells = (
        row.explanation,
        f"{row.pictures:.3g}",
        str(len(row.told.units)),
        _per_cent(row.told.common),
        _per_cent(row.told.own),
        "-" if first else _per_cent(row.common_gain, "+"),
        "-" if first else _per_cent(row.own_gain, "+"),
        _per_cent(row.told.other_common),
        _per_cent(row.told.other_own),
        f"{sum(ratios) / len(ratios):.2f}" if ratios else "-",
        f"{sum(fine) / len(fine):.0%}" if fine else "-",
    )
    return f"| {' | '.join(cells)} |"


def _per_cent(values: Sequence[float], sign: str = "") -> str:
    mean, half = interval(values)
    return f"{100 * mean:{sign}.1f} ± {100 * half:.1f}"


# ---- the command ----


def chosen_units(layer: Layer, first: int, count: int) -> range:
    """`count` units from `first` on; the layer's last ones, where it has not so many."""
    start = max(0, min(first, layer.units - count))
    return range(start, min(start + count, layer.units))


def chosen_recipes(names: Sequence[str], settings: Sequence[str]) -> list[Recipe]:
    """Recipes by name or file, with options written as RECIPE.KEY=VALUE.

    Raises:
        RenderError: for an unknown recipe or option, and for one that explains no unit.
        UsageError: for options of a recipe that is not asked for.
    """
    options: dict[str, dict[str, str]] = {Path(name).stem: {} for name in names}
    for setting in settings:
        key, equals, value = setting.partition("=")
        recipe, dot, option = key.rpartition(".")
        if not equals or not dot or recipe not in options:
            raise UsageError(
                f"--set {setting}: expected RECIPE.KEY=VALUE of {', '.join(options) or 'a recipe'}"
            )
        options[recipe][option] = value
    recipes = [get_recipe(name, options[Path(name).stem]) for name in names]
    for recipe in recipes:
        if isinstance(recipe, Dream):
            raise RenderError(
                f"recipe {recipe.name} shows a photograph's dream and explains no unit"
            )
    return recipes


def index_halves(options: argparse.Namespace, reporter: Reporter) -> tuple[Path, Path]:
    """Split DATA and index both halves, where that is not done yet; their folders."""
    dataset = open_dataset((options.data,), reporter=reporter)
    part, parts = options.part
    halves = split(list(list_sources(dataset)), part, parts, options.images)
    folders = []
    for name, sources in zip(("first", "second"), halves, strict=True):
        lay_out(options.out / "images" / name, sources, dataset)
        config = RunConfig(
            data=(str(options.out / "images" / name),),
            out=options.out / name,
            network=options.network,
            layers=tuple(options.layers),
            top=TOP,
        )
        run_index(config, reporter=reporter)
        folders.append(config.out)
    return folders[0], folders[1]


def measure_layer(
    first: Index, second: Index, name: str, recipes: Sequence[Recipe], judge: Judge,
    options: argparse.Namespace, reporter: Reporter,
) -> list[Row]:  # fmt: skip
    """Render, judge and print one layer."""
    layer = first.layer(name)
    units = chosen_units(layer, options.first_unit, options.units)
    rendered = {
        recipe: render_index(
            first, recipe, layers=(name,), units=f"{units[0]}-{units[-1]}", seed=options.seed,
            generator=options.generator if isinstance(recipe, Latent) else None,
            reporter=reporter,
        )
        for recipe in recipes
    }  # fmt: skip
    network = index_network(first)
    plain = Patches(first, network, layer, layer)
    photographs = plain.pictures(some_images(first, FIELD_PHOTOGRAPHS))
    field = effective_layer(network, layer, torch.stack(list(photographs.values())))
    explaining, asking = (Patches(index, network, layer, field) for index in (first, second))
    window = seen_window(field, 0, 0, network.preprocess)
    print(f"\n{name}: patches of {window.right - window.left:.0f} px, units {units[0]}-{units[-1]}")
    print(f"\n{HEADER}", flush=True)
    common = judge(explaining.anywhere(RANDOM_PATCHES, options.seed)).mean(0)
    questions = ask(asking, units, judge)
    rows: list[Row] = []
    for explained in explain(explaining, units, judge, rendered):
        told = tell(questions, explained.features, common)
        rows.append(row_of(layer, explained, told, rows[0].told if rows else None))
        print(table_row(rows[-1]), flush=True)
        judge.save()
    return rows


def run(options: argparse.Namespace, reporter: Reporter | None = None) -> list[Row]:
    """The whole measurement; prints its tables and gives back their rows."""
    reporter = reporter or Silent()
    recipes = chosen_recipes(options.recipes, options.set)
    if options.units < 2:
        raise UsageError("--units must be 2 or more: the control is another unit's explanation")
    for recipe in recipes:
        if isinstance(recipe, Latent) and options.generator is None:
            raise RenderError(f"recipe {recipe.name} climbs in a generator; give --generator FILE")
    folders = index_halves(options, reporter)
    network = load_network(options.judge)
    judge = Judge(network, options.out / f"judge-{network.digest[:12]}.pt")
    rows: list[Row] = []
    with open_index(folders[0]) as first, open_index(folders[1]) as second:
        for layer in (each.name for each in first.layers):
            rows += measure_layer(first, second, layer, recipes, judge, options, reporter)
    kinds = dict.fromkeys(row.explanation for row in rows)
    print(f"\nall layers\n\n{HEADER}")
    for kind in kinds:
        print(table_row(pooled([row for row in rows if row.explanation == kind])))
    return rows


def read_part(text: str) -> tuple[int, int]:
    """`1/2` is part 1, counted from 0, of 2."""
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and int(part) < int(parts)):
        raise argparse.ArgumentTypeError(f"expected PART/PARTS such as 0/2 or 1/2, got {text!r}")
    return int(part), int(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
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
    parser.add_argument("--images", type=int, help="use only so many")
    parser.add_argument("--part", type=read_part, default=(0, 1), help="of the images, such as 1/2")
    parser.add_argument("--out", type=Path, default=Path("out/truth"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the accuracies of every unit")
    parser.add_argument("--threads", type=int, help="1 where other work keeps the cores busy")
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    try:
        rows = run(options, ConsoleReporter())
        made = [
            {"name": recipe.name, **{key: value for key, value, _ in describe_recipe(recipe)}}
            for recipe in chosen_recipes(options.recipes, options.set)
        ]
    except MaxactError as error:
        sys.exit(f"error: {error}")
    if options.json is not None:
        settings = {key: str(getattr(options, key)) for key in ("network", "judge", "part", "seed")}
        content = {**settings, "recipes": made, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
