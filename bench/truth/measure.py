"""Run the measurement, layer by layer."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.truth.agreement import comparison
from bench.truth.answers import tell
from bench.truth.choices import chosen_recipes, chosen_units
from bench.truth.explanations import Asked, Explained, ask, explain
from bench.truth.halves import index_halves
from bench.truth.judge import Judge
from bench.truth.judges import load_judges
from bench.truth.tables import HEADER, Row, both_ways, pooled, row_of, table_row
from pipeline.errors import RenderError, UsageError
from pipeline.layers.layer import Layer
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index, open_index
from pipeline.query.indexed_images import sample_image_ids
from pipeline.query.indexed_network import index_network
from viz.planning.effective_field import effective_layer
from viz.recipes.base import Recipe
from viz.render.render_index import render_index
from viz.render.table import Rendered
from viz.sheets.patches import seen_window
from viz.study.collect import FIELD_PHOTOGRAPHS
from viz.study.patches import Patches

RANDOM_PATCHES = 256
"""Maximum number of patches at random positions for the common mean."""

BOTH = ", mean of both directions"
"""Suffix of a table's title if each half provides the explanations once."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The result of a measurement.

    Args:
        rows: one per layer, judge and kind of explanation; with `--swap`, means of both directions.
        directions: the rows of each direction, by the half that provides the explanations,
            `first` or `second`.
    """

    rows: list[Row]
    directions: dict[str, list[Row]]


def measure_layer(
    explaining: Index,
    asking: Index,
    name: str,
    recipes: Sequence[Recipe],
    judges: Sequence[Judge],
    options: argparse.Namespace,
    reporter: Reporter,
) -> list[Row]:
    """Render, judge and print one layer.

    Args:
        explaining: index of the half that provides the explanations.
        asking: index of the half that provides the questions.
        name: name of the layer.
        recipes: recipes to measure, in addition to real patches.
        judges: each sees all patches; saved after each row.
        options: the command's options.
        reporter: shown progress.
    """
    layer = explaining.layer(name)
    units = chosen_units(layer, options.first_unit, options.units)
    rendered = {
        recipe: render_index(
            explaining,
            recipe,
            layers=(name,),
            units=f"{units[0]}-{units[-1]}",
            seed=options.seed,
            generator=options.generator if recipe.source == "generator" else None,
            generator_weights=options.generator_weights if recipe.source == "generator" else None,
            robust_copy=options.robust_copy if recipe.source == "robust copy" else None,
            reporter=reporter,
        )
        for recipe in recipes
    }
    return judge_layer(explaining, asking, layer, rendered, units, judges, options)


def judge_layer(
    explaining: Index,
    asking: Index,
    layer: Layer,
    rendered: Mapping[Recipe, list[Rendered]],
    units: range,
    judges: Sequence[Judge],
    options: argparse.Namespace,
) -> list[Row]:
    """Judge real patches and finished renderings of one layer, and print its tables.

    Args:
        explaining: index of the half that provides the explanations.
        asking: index of the half that provides the questions.
        layer: of the first index.
        rendered: rows of the table of renderings, by recipe.
        units: to be explained.
        judges: each sees all patches; saved after each row.
        options: the command's `seed`, `swap`, `beside` and `strip`.
    """
    network = index_network(explaining)
    plain = Patches(explaining, network, layer, layer)
    photographs = plain.pictures(sample_image_ids(explaining, FIELD_PHOTOGRAPHS))
    field = effective_layer(network, layer, torch.stack(list(photographs.values())))
    shown, asked = (Patches(index, network, layer, field) for index in (explaining, asking))
    window = seen_window(field, 0, 0, network.preprocess)
    title = f"{layer.name}, {explaining.out.name} half explains" if options.swap else layer.name
    side = window.right - window.left
    print(f"\n{title}: patches of {side:.0f} px, units {units[0]}-{units[-1]}")
    anywhere = shown.anywhere(RANDOM_PATCHES, options.seed)
    questions = ask(asked, units)
    explanations = list(explain(shown, units, rendered, beside=options.beside, strip=options.strip))
    rows: list[Row] = []
    for judge in judges:
        print(f"\n{_by(judge.name, judges)}{HEADER}", flush=True)
        rows.extend(_judged(judge, layer, anywhere, questions, explanations))
    return rows


def _by(judge: str, judges: Sequence[object]) -> str:
    """The line above a judge's table, if there are several judges."""
    return f"judge {judge}\n\n" if len(judges) > 1 else ""


def _judged(
    judge: Judge,
    layer: Layer,
    anywhere: Sequence[Tensor],
    questions: Asked,
    explanations: Sequence[Explained],
) -> list[Row]:
    """Have one judge answer all questions about a layer, and print its rows."""
    common = judge(anywhere).mean(0)
    asked = questions.seen(judge)
    rows: list[Row] = []
    for explained in explanations:
        told = tell(asked, explained.seen(judge), common, explained.patches)
        rows.append(row_of(layer, explained, told, rows[0].told if rows else None, judge.name))
        print(table_row(rows[-1]), flush=True)
        judge.save()
    return rows


def run(options: argparse.Namespace, reporter: Reporter | None = None) -> Measured:
    """Run the whole measurement and print its tables.

    Raises:
        RenderError: for a recipe that cannot be used.
        UsageError: for invalid options or judges, or if there are too few photographs.
        NetworkError: for a network that cannot be loaded.
    """
    reporter = reporter or Silent()
    recipes = chosen_recipes(options.recipes, options.set)
    if options.units < 2:
        raise UsageError("--units must be 2 or more: the control is another unit's explanation")
    if options.strip and len(recipes) < 2:
        raise UsageError("--strip shows the renderings of several recipes; name two or more in --recipes")
    for recipe in recipes:
        if recipe.source == "generator" and options.generator is None:
            raise RenderError(f"recipe {recipe.name} needs a generator; give --generator FILE")
        if recipe.source == "robust copy" and options.robust_copy is None:
            raise RenderError(f"recipe {recipe.name} needs a robust copy; give --robust-copy FILE")
    # Before the halves are indexed, which takes minutes: a judge may not exist.
    judges = load_judges(options.judge, options.network, options.out, options.weights)
    folders = index_halves(options, reporter)
    with open_index(folders[0]) as first, open_index(folders[1]) as second:
        ways = {"first": (first, second)} | ({"second": (second, first)} if options.swap else {})
        measured = Measured([], {half: [] for half in ways})
        for layer in (each.name for each in first.layers):
            here = [measure_layer(*pair, layer, recipes, judges, options, reporter) for pair in ways.values()]
            for direction, rows in zip(measured.directions.values(), here, strict=True):
                direction.extend(rows)
            measured.rows.extend(here[0] if len(here) == 1 else _mean_of(layer, *here))
    total = [
        pooled([row for row in measured.rows if (row.judge, row.explanation) == key])
        for key in dict.fromkeys((row.judge, row.explanation) for row in measured.rows)
    ]
    _print_table(f"all layers{BOTH if options.swap else ''}", total)
    if len(judges) > 1:
        print(f"\n{comparison(total)}", flush=True)
    return measured


def _mean_of(layer: str, forth: Sequence[Row], back: Sequence[Row]) -> list[Row]:
    rows = [both_ways(*pair) for pair in zip(forth, back, strict=True)]
    _print_table(f"{layer}{BOTH}", rows)
    return rows


def _print_table(title: str, rows: Sequence[Row]) -> None:
    print(f"\n{title}")
    judges = list(dict.fromkeys(row.judge for row in rows))
    for judge in judges:
        print(f"\n{_by(judge, judges)}{HEADER}")
        for row in rows:
            if row.judge == judge:
                print(table_row(row), flush=True)
