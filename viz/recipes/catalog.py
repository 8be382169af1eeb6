"""Recipes by name, built in or from a file, and their options as text.

    get_recipe("fourier", {"steps": "128"})
    get_recipe("my-recipe.toml")

A recipe file is TOML: `base` names a recipe, `name` is its own, every other key is an option.

    base = "fourier"
    name = "calm"
    steps = 256
    jitter = [4, 2]
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from pipeline.errors import RenderError, did_you_mean
from viz.objectives.text import read_objective
from viz.recipes.base import Recipe
from viz.recipes.option_text import read_option, write_option

__all__ = [
    "RECIPES",
    "default_recipe",
    "describe_recipe",
    "get_recipe",
    "read_files",
    "recipe_fingerprint",
    "recipe_name",
    "summarise_recipe",
]

RENDERER_VERSION = 5
"""Raised when the same recipe would give other pictures, so that old renderings are not reused."""

FILES = (
    "typical",
    "robust",
    "fourier",
    "octaves",
    "facets",
    "maco",
    "dream",
    "accentuate",
    "faccent",
    "prior",
    "deepvis",
    "vital",
)
"""The files of this folder whose `RECIPES` are the built-in ones, in the order of `maxact recipes`."""


def read_files() -> dict[str, Recipe]:
    """The recipes of `FILES` by name."""
    modules = [import_module(f"viz.recipes.{file}") for file in FILES]
    return {recipe.name: recipe for module in modules for recipe in module.RECIPES}


RECIPES: Mapping[str, Recipe] = read_files()
"""The built-in recipes by name, with their defaults."""


def default_recipe(objective: str) -> str:
    """The recipe for an objective as the command line writes it.

    `typical` for one unit; `fourier` for sums, energies and whole layers, for which the index
    lists no top images.

    Raises:
        RenderError: for text that is no objective.
    """
    return "typical" if read_objective(objective).is_one_unit else "fourier"


def get_recipe(name: str, options: Mapping[str, str] | None = None) -> Recipe:
    """A recipe with some options set.

    Args:
        name: one of `RECIPES`, or the path of a TOML file.
        options: field names to values as written on the command line; parts of a tuple are
            separated by colons, octaves by commas (`iterations:scale:sigma:sigma:step:step`).

    Raises:
        RenderError: for an unknown recipe or option, a value that does not fit, a file that
            cannot be read.
    """
    if name.endswith(".toml"):
        recipe = _from_file(Path(name))
    elif name in RECIPES:
        recipe = RECIPES[name]
    else:
        raise RenderError(
            f"unknown recipe {name!r}; expected a .toml file or one of "
            f"{', '.join(sorted(RECIPES))}{did_you_mean(name, RECIPES)}"
        )
    return _with_options(recipe, options or {}, f"recipe {name}")


def recipe_name(name: str) -> str:
    """The name under which a recipe's renderings are recorded.

    Args:
        name: of a recipe, also of one that is not known here; or the path of a TOML file.

    Raises:
        RenderError: for a file that cannot be read, or is no recipe.
    """
    return get_recipe(name).name if name.endswith(".toml") else name


def _with_options(recipe: Recipe, options: Mapping[str, str], where: str) -> Recipe:
    kinds = _options(recipe)
    changes: dict[str, Any] = {}
    for key, text in options.items():
        if key not in kinds:
            raise RenderError(
                f"{where} has no option {key!r}; it has {', '.join(kinds)}{did_you_mean(key, kinds)}"
            )
        changes[key] = read_option(text, kinds[key], f"{where}: option {key}")
    return replace(recipe, **changes)


def _from_file(path: Path) -> Recipe:
    """A recipe file: `base`, `name`, options."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RenderError(f"recipe file {path} cannot be read: {reason}") from error
    base = content.pop("base", None)
    if base not in RECIPES:
        raise RenderError(
            f"recipe file {path}: base must be one of {', '.join(sorted(RECIPES))}, got {base!r}"
        )
    own = content.pop("name", path.stem)
    if not isinstance(own, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", own):
        raise RenderError(f"recipe file {path}: name must be letters, digits, dots and dashes, got {own!r}")
    if own in RECIPES and content:
        raise RenderError(f"recipe file {path}: {own} is a built-in recipe; give it another name")
    options = {key: _as_written(value) for key, value in content.items()}
    return _with_options(replace(RECIPES[base], name=own), options, f"recipe file {path}")


def _as_written(value: object) -> str:
    """A TOML value as `read_option` reads it: lists with colons, lists of lists with commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        separator = "," if value and isinstance(value[0], list) else ":"
        return separator.join(_as_written(part) for part in value)
    return str(value)


def describe_recipe(recipe: Recipe) -> list[tuple[str, str, str]]:
    """Name, value and meaning of each option, the value written as `get_recipe` reads it."""
    meanings: dict[str, str] = {}
    for kind in reversed(type(recipe).__mro__[:-1]):
        meanings |= _meanings(kind)
    return [(key, write_option(getattr(recipe, key)), meanings.get(key, "")) for key in _options(recipe)]


def _meanings(kind: type) -> dict[str, str]:
    """What the `Args:` of a recipe's docstring say of each option, on one line."""
    _, _, described = (kind.__doc__ or "").partition("Args:")
    entries = re.findall(r"^ +(\w+): (.*(?:\n {9,}.*)*)", described, flags=re.MULTILINE)
    return {key: re.sub(r"\s+", " ", text) for key, text in entries}


def summarise_recipe(recipe: Recipe) -> str:
    """The first line of a recipe's description, and its number of steps."""
    first = (type(recipe).__doc__ or "").partition("\n")[0]
    return f"{first} {recipe.total_steps:,} steps."


def recipe_fingerprint(recipe: Recipe, **context: object) -> str:
    """SHA-256, in hexadecimal, of a recipe and of whatever else decides the picture."""
    whole = {"recipe": asdict(recipe), "renderer": RENDERER_VERSION, **context}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _options(recipe: Recipe) -> dict[str, Any]:
    """Field names to types, without the name."""
    hints = get_type_hints(type(recipe))
    return {field.name: hints[field.name] for field in fields(recipe) if field.name != "name"}
