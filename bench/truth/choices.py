"""Parse the command's options: which units, which recipes, which images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import RenderError, UsageError
from pipeline.layers.layer import Layer
from viz.recipes.catalog import get_recipe
from viz.recipes.kinds import Dream, Recipe


def chosen_units(layer: Layer, first: int, count: int) -> range:
    """Choose `count` units from `first` on, or the layer's last ones if it has too few."""
    start = max(0, min(first, layer.units - count))
    return range(start, min(start + count, layer.units))


def chosen_recipes(names: Sequence[str], settings: Sequence[str]) -> list[Recipe]:
    """Load recipes by name or file, with options written as RECIPE.KEY=VALUE.

    Raises:
        RenderError: for an unknown recipe or option, and for `dream`, which explains no unit.
        UsageError: for options of a recipe that is not listed.
    """
    options: dict[str, dict[str, str]] = {Path(name).stem: {} for name in names}
    for setting in settings:
        key, equals, value = setting.partition("=")
        name, dot, option = key.rpartition(".")
        if not equals or not dot or name not in options:
            raise UsageError(
                f"--set {setting}: expected RECIPE.KEY=VALUE of {', '.join(options) or 'a recipe'}"
            )
        options[name][option] = value
    recipes = [get_recipe(name, options[Path(name).stem]) for name in names]
    for recipe in recipes:
        if isinstance(recipe, Dream):
            raise RenderError(f"recipe {recipe.name} starts from a given photograph and explains no unit")
    return recipes


def read_part(text: str) -> tuple[int, int]:
    """Parse PART/PARTS; parts are counted from 0, so that `1/2` is the second half."""
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and int(part) < int(parts)):
        raise argparse.ArgumentTypeError(f"expected PART/PARTS such as 0/2 or 1/2, got {text!r}")
    return int(part), int(parts)
