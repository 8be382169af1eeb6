"""Renderings on request: what may be asked for, and how it is rendered into the index."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.assignments import parse_assignments
from pipeline.choices import Device
from pipeline.errors import RenderError, UsageError, did_you_mean
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.progress import Silent
from pipeline.query.index import Index, open_index
from pipeline.query.indexed_network import index_network
from viz.objectives.text import read_objective
from viz.recipes.base import Recipe
from viz.recipes.catalog import RECIPES, describe_recipe, get_recipe, summarise_recipe
from viz.render.render_index import render_index
from viz.server.job import Asked, Job

__all__ = ["OBJECTIVES", "Renderer", "offered_recipes", "read_request", "recipe_descriptions"]

OBJECTIVES = ("point", "channel", "logit", "energy", "-point", "-channel")
"""Objectives that the form suggests; others may be typed."""

MAX_SEED = (1 << 63) - 1
"""As for `maxact render --seed`."""

MAX_TEXT = 1000
"""Letters of an objective or of the options."""


def offered_recipes() -> dict[str, Recipe]:
    """The recipes that need nothing but the index."""
    return {name: recipe for name, recipe in RECIPES.items() if recipe.source in (None, "index")}


def recipe_descriptions() -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """Name, summary and options of every recipe that is offered."""
    return [
        (name, summarise_recipe(recipe), describe_recipe(recipe))
        for name, recipe in offered_recipes().items()
    ]


def read_request(atlas: int, layer: Layer, unit: int, fields: Mapping[str, str]) -> Asked:
    """Read a form: `recipe`, `steps`, `options` (words KEY=VALUE), `objective`, `seed`.

    Args:
        atlas: number of the index.
        layer: of the unit.
        unit: of the layer.
        fields: of the form.

    Raises:
        UsageError: for a value that is not allowed.
        RenderError: for a recipe, an option or an objective that does not exist.
    """
    name = fields.get("recipe", "typical")
    offered = offered_recipes()
    if name not in offered:  # never the name of a file
        raise RenderError(f"no recipe {name!r} is offered{did_you_mean(name, offered)}")
    objective = fields.get("objective", "").strip() or "point"
    given = fields.get("options", "")
    if max(len(objective), len(given)) > MAX_TEXT:
        raise UsageError(f"an objective and options have at most {MAX_TEXT:,} letters")
    words = given.split()
    if fields.get("steps", "").strip():
        words.insert(0, f"steps={fields['steps'].strip()}")
    if read_objective(objective).is_whole_layer:
        raise RenderError("the objective layer is of no unit; use `maxact render --objective layer`")
    recipe = get_recipe(name, parse_assignments(words, "the options"))
    return Asked(atlas, layer.ordinal, layer.name, unit, recipe, objective, _seed(fields.get("seed", "")))


def _seed(text: str) -> int:
    text = text.strip() or "0"
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_SEED):
        raise UsageError(f"a seed is a whole number from 0 to {MAX_SEED}, got {text[:40]!r}")
    return int(text)


@dataclass(slots=True)
class Renderer:
    """Renders into one index, with a connection and a network of its own.

    Args:
        out: folder of the index.
        trust, data: see `pipeline.query.index.open_index`.
        network, weights: see `pipeline.query.indexed_network.index_network`.
        device: where it runs.
        cache: see `viz.render.render_index.render_index`.
    """

    out: Path
    trust: bool = False
    data: tuple[str, ...] = ()
    network: Network | str | None = None
    weights: Path | None = None
    device: Device = "auto"
    cache: Path | None = None
    _index: Index | None = None
    _loaded: Network | None = None

    def render(self, job: Job) -> str:
        """Render what a job asks for; returns a line on what was kept.

        Raises:
            RenderingStopped: when the job was cancelled.
            MaxactError: when it cannot be rendered.
        """
        if self._index is None:
            self._index = open_index(self.out, trust=self.trust, data=self.data)
        if self._loaded is None:
            self._loaded = index_network(self._index, network=self.network, weights=self.weights)
        asked = job.asked
        rows = render_index(
            self._index,
            asked.recipe,
            layers=[glob.escape(asked.layer)],
            units=[asked.unit],
            seed=asked.seed,
            objective=asked.objective,
            network=self._loaded,
            device=self.device,
            reporter=Silent(),
            observer=job,
            cache=self.cache,
        )
        count = "1 rendering" if len(rows) == 1 else f"{len(rows)} renderings"
        return f"{count} kept in the index" if job.step else f"{count} found finished in the index"

    def close(self) -> None:
        """Close the index."""
        if self._index is not None:
            self._index.close()
