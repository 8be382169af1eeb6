"""The measurement, layer by layer."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from bench.truth.answers import tell
from bench.truth.choices import chosen_recipes, chosen_units
from bench.truth.explanations import ask, explain
from bench.truth.halves import index_halves
from bench.truth.judge import Judge
from bench.truth.patches import Patches, some_images
from bench.truth.tables import HEADER, Row, pooled, row_of, table_row
from pipeline.errors import RenderError, UsageError
from pipeline.networks import load_network
from pipeline.progress import Reporter, Silent
from pipeline.query import Index, open_index
from viz.crops import seen_window
from viz.effective import effective_layer
from viz.index_renders import index_network, render_index
from viz.recipe_kinds import Latent, Recipe

FIELD_PHOTOGRAPHS = 24
"""Whose gradients give the effective receptive field."""

RANDOM_PATCHES = 256
"""At most, of which the common mean is taken."""


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
