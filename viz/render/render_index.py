"""Render units of an index: its own network, its own layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.choices import AskedPrecision, Device, EngineName
from pipeline.config import EngineConfig
from pipeline.devices import find_device, resolve_precision
from pipeline.engines.open_engine import open_engine
from pipeline.engines.sameness import identify
from pipeline.errors import RenderError
from pipeline.networks.network import Network
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index
from pipeline.query.indexed_network import index_network
from pipeline.query.selection import ALL_UNITS, ClassUnits, Patterns, Units
from pipeline.remote.local import refuse_spread
from pipeline.store.leftovers import writing
from viz.ascent.loop import Observer
from viz.inputs.inputs import Inputs
from viz.inputs.top_images import NoTopImages
from viz.objectives.text import WHOLE_LAYER, parse_objective, read_objective
from viz.priors.prior import Prior, load_prior, parse_code_shape, priors_of
from viz.recipes.base import Recipe
from viz.render.render_units import batch_size, render_units
from viz.render.source_options import check_source_options
from viz.render.spread import RenderWork, render_spread
from viz.render.table import Rendered, note_hidden
from viz.robust.robust_copy import load_robust, robust_path

__all__ = ["render_index"]


def render_index(
    index: Index,
    recipe: Recipe,
    *,
    layers: Patterns = (),
    units: Units = ALL_UNITS,
    seed: int = 0,
    objective: str = "point",
    batch: int | None = None,
    precision: AskedPrecision = "auto",
    network: Network | str | None = None,
    weights: str | Path | None = None,
    photograph: Path | None = None,
    generator: str | None = None,
    generator_weights: Path | None = None,
    generator_code: str | None = None,
    robust_copy: Path | None = None,
    device: Device = "auto",
    reporter: Reporter | None = None,
    observer: Observer | None = None,
    engine: EngineConfig | EngineName = "local",
    path: bool = True,
    cache: Path | None = None,
) -> list[Rendered]:
    """Render units of an index's layers into its folder.

    Args:
        index: open.
        recipe: see `viz.recipes.catalog`.
        layers: names or globs, a plain string is one of them; all layers for none.
        units: numbers, or text such as `0-23`; see `pipeline.query.selection`.
        seed, objective, batch, precision: see `viz.render.render_units.render_units`.
        network, weights: see `pipeline.query.indexed_network`; a network given here is moved to the device.
        photograph: the image that the recipe `dream` starts from.
        generator: generator of the recipe `prior`: a checkpoint or `module:factory`, see
            `viz.priors.prior.load_prior`; by default the one trained in OUT.
        generator_weights: weights file of a `module:factory` generator.
        generator_code: shape of the generator's codes, such as `256x6x6`, where it does not say.
        robust_copy: file for the recipe `robust`, see `viz.robust.robust_copy.load_robust`; by default the
            one trained in OUT.
        device: where it runs; `auto` is a GPU where there is one.
        reporter: shown progress.
        observer: see `viz.render.render_units.render_units`; not for an engine other than `local`.
        engine: what spreads the units.
        path: see `viz.render.render_units.render_units`.
        cache: folder in which measurements of usual photographs are kept; by default the one that the index
            was made with, if that is trusted, and else `~/.cache/maxact`.

    Raises:
        MaxactError: for a layer, unit, objective or network that is not there.
    """
    reporter = reporter or Silent()
    check_source_options(
        recipe,
        photograph=photograph,
        generator=generator,
        generator_weights=generator_weights,
        generator_code=generator_code,
        robust_copy=robust_copy,
    )
    # Class names in an objective are those of the classifier, the last layer.
    last = index.layers[-1].name if index.layers else ""
    classes = ClassUnits(index.class_names(last) or ())
    network = index_network(index, network=network, weights=weights)
    spread = EngineConfig(engine) if isinstance(engine, str) else engine
    is_local = spread.name == "local"
    if is_local:
        network.module.to(find_device(device))
    elif observer is not None:
        raise RenderError("an observer sees renderings of this process only; use the engine local")
    prior = None
    if recipe.source == "generator":
        prior = _prior(index, network, recipe, generator, generator_weights, generator_code, reporter)
        reporter.note(f"{recipe.name}: {prior.origin}")
    robust = None
    if recipe.source == "robust copy":
        robust = load_robust(robust_copy or robust_path(index.out), network)
    inputs = Inputs(network, index, photograph, prior, cache, robust)
    read = read_objective(objective)
    whole = read.is_whole_layer
    chosen = index.choose(layers, "0" if whole else units)
    makers = [parse_objective(read, layer, index.layers, classes, network.module) for layer, _ in chosen]
    if not is_local:
        options = {
            "recipe": recipe,
            "seed": seed,
            "objective": objective,
            "batch": batch,
            "photograph": None if photograph is None else photograph.absolute(),
            "generator": generator,
            "generator_weights": generator_weights,
            "generator_code": generator_code,
            "robust_copy": None if robust_copy is None else robust_copy.absolute(),
            "path": path,
            "cache": None if cache is None else cache.absolute(),
        }
        layer_units = [(layer.name, () if whole else wanted) for layer, wanted in chosen]
        return _spread(index, network, spread, device, layer_units, precision, options, reporter)
    rows: list[Rendered] = []
    empty: list[NoTopImages] = []
    for (layer, wanted), make in zip(chosen, makers, strict=True):
        try:
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
                observer=observer,
                path=path,
            )
        except NoTopImages as error:
            empty.append(error)
    if empty and not rows:
        raise empty[0]
    for each in empty:
        reporter.note(f"skipped: {each}")
    note_hidden(index.out, index.run["fingerprint"], reporter)
    return rows


def _spread(
    index: Index,
    network: Network,
    spread: EngineConfig,
    device: Device,
    chosen: Sequence[tuple[str, Sequence[int]]],
    precision: AskedPrecision,
    options: Mapping[str, Any],
    reporter: Reporter,
) -> list[Rendered]:
    """Render on an engine that leaves this process; each process there renders some units of a layer."""
    refuse_spread(index.out, spread.name)
    with open_engine(spread, device) as engine:
        # The format that is computed in decides pictures, and is that of the processes that render.
        resolved = engine.ask(resolve_precision, precision, engine.device)
        work = RenderWork(
            index.out.absolute(),
            index.data,
            index.trusted,
            network,
            render_index,
            {**options, "precision": resolved},
            identify(network.module, engine.device),
        )
        size = batch_size(engine.device, options["batch"], options["recipe"])
        with writing(index.out):
            return render_spread(engine, work, chosen, size, reporter)


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
        trained, others = priors_of(index)
        if len(trained) != 1:
            names = ", ".join(path.name for path in trained) or "none"
            if others:
                names += f" of this index (and {', '.join(path.name for path in others)} of another)"
            raise RenderError(
                f"recipe {recipe.name} needs one generator, {index.out / 'prior'} has {names}; "
                "train one with `maxact prior train`, or choose with --generator"
            )
        return load_prior(trained[0])
    shape = None if code is None else parse_code_shape(code)
    return load_prior(source, weights, code_shape=shape, network=network, index=index, reporter=reporter)
