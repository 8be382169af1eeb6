"""Render units of an index: its own network, its own layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from pipeline.errors import RenderError, StoreError
from pipeline.networks.network import Network, recorded_network
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index
from pipeline.query.selection import ClassUnits
from viz.inputs.inputs import Inputs
from viz.objectives.text import WHOLE_LAYER, parse_objective, read_objective
from viz.passes.scorer import Precision
from viz.priors.prior import Prior, load_prior, parse_code_shape
from viz.recipes.base import Recipe
from viz.render.render_units import render_units
from viz.render.table import Rendered

__all__ = ["Device", "find_device", "index_network", "render_index"]

Device = Literal["auto", "cpu", "cuda"]
"""Where gradient ascent runs; `auto` is a GPU where there is one."""


def index_network(index: Index, weights: str | Path | None = None) -> Network:
    """The network that made an index, checked to have the same weights.

    Args:
        index: open.
        weights: a file, where the index's own record of it no longer holds.

    Raises:
        NetworkError: when it cannot be loaded.
        StoreError: when its weights are others than those indexed.
    """
    config, recorded = index.run["config"], index.run["network"]
    network = recorded_network(config, weights=weights)
    if network.digest != recorded["digest"]:
        raise StoreError(
            f"{index.out} was made with weights {recorded['digest'][:12]} ({recorded['weights']}), "
            f"{network.name} now has {network.digest[:12]} ({network.weights}); "
            "give the file with --weights, or index again"
        )
    return network


def render_index(
    index: Index,
    recipe: Recipe,
    *,
    layers: Sequence[str] = (),
    units: str = "all",
    seed: int = 0,
    objective: str = "point",
    batch: int | None = None,
    precision: Precision = "auto",
    weights: str | Path | None = None,
    photograph: Path | None = None,
    generator: str | None = None,
    generator_weights: Path | None = None,
    generator_code: str | None = None,
    device: Device = "auto",
    reporter: Reporter | None = None,
) -> list[Rendered]:
    """Render units of an index's layers into its folder.

    Args:
        index: open.
        recipe: see `viz.recipes.catalog`.
        layers: names or globs; all for none.
        units: as `pipeline.query.selection.parse_units` reads them.
        seed, objective, batch, precision: see `viz.render.render_units.render_units`.
        weights: see `index_network`.
        photograph: the start, for recipe `dream`.
        generator: of the recipe `prior`: a checkpoint or `module:factory`, see
            `viz.priors.prior.load_prior`; by default the one trained in OUT.
        generator_weights: weights file for a `module:factory` generator.
        generator_code: shape of its codes, such as `256x6x6`, where it does not declare it.
        device: where it runs; `auto` is a GPU where there is one.
        reporter: shown progress.

    Raises:
        MaxactError: for a layer, unit, objective or network that is not there.
    """
    reporter = reporter or Silent()
    # Class names in an objective are those of the classifier, the last layer.
    last = index.layers[-1].name if index.layers else ""
    classes = ClassUnits(index.class_names(last) or ())
    network = index_network(index, weights)
    network.module.to(find_device(device))
    prior = None
    if recipe.source == "generator":
        prior = _prior(index, network, recipe, generator, generator_weights, generator_code, reporter)
        reporter.note(f"{recipe.name}: {prior.origin}")
    elif generator or generator_weights or generator_code:
        raise RenderError(f"recipe {recipe.name} takes no generator; use --recipe prior")
    inputs = Inputs(network, index, photograph, prior)
    read = read_objective(objective)
    whole = read.is_whole_layer
    chosen = index.choose(layers, "0" if whole else units)
    makers = [parse_objective(read, layer, index.layers, classes) for layer, _ in chosen]
    rows: list[Rendered] = []
    for (layer, wanted), make in zip(chosen, makers, strict=True):
        rows += render_units(
            network,
            layer,
            (WHOLE_LAYER,) if whole else wanted,
            recipe,
            out=index.out,
            seed=seed,
            objective=make,
            objective_name=read.text,
            batch=batch,
            precision=precision,
            score=index.run["config"].get("score", "max"),
            inputs=inputs,
            reporter=reporter,
        )
    return rows


def _prior(
    index: Index,
    network: Network,
    recipe: Recipe,
    source: str | None,
    weights: Path | None,
    code: str | None,
    reporter: Reporter,
) -> Prior:
    """The generator for a recipe whose source is one."""
    if source is None:
        if weights is not None or code is not None:
            raise RenderError("a generator's weights or code shape need --generator module:factory")
        trained = sorted((index.out / "prior").glob("*.pt"))
        if len(trained) != 1:
            names = ", ".join(path.name for path in trained) or "none"
            raise RenderError(
                f"recipe {recipe.name} needs one generator, {index.out / 'prior'} has {names}; "
                "train one with `maxact prior train`, or choose with --generator"
            )
        return load_prior(trained[0])
    shape = None if code is None else parse_code_shape(code)
    return load_prior(source, weights, code_shape=shape, network=network, index=index, reporter=reporter)


def find_device(name: Device) -> torch.device:
    """The device of that name.

    Raises:
        RenderError: when this torch does not see it.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise RenderError("--device cuda: this torch sees no CUDA device; use --device cpu")
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
