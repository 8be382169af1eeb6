"""The commands that draw: `sheets`, `render`, `recipes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.choices import AskedPrecision
from pipeline.cli.engine_options import (
    Address,
    CpusPerTask,
    GpusPerTask,
    JsonProgress,
    SpreadBy,
)
from pipeline.cli.options import (
    DRAW,
    LOOK,
    MAX_COUNT,
    Device,
    IndexedNetwork,
    LayersOfIndex,
    MovedData,
    MovedWeights,
    Out,
    Seed,
    Trust,
    Units,
    cache_folder,
    index_folder,
)
from pipeline.cli.output import print_files, print_line
from pipeline.cli.reporting import console_reporter
from viz.choices import Paper

__all__ = ["Beside", "register"]


Beside = Annotated[
    Path | None,
    typer.Option(
        "--with",
        metavar="OTHER",
        parser=index_folder,
        help="Index of the same dataset; each unit is shown beside its nearest there.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(rich_help_panel=DRAW)(sheets)
    app.command(rich_help_panel=DRAW)(render)
    app.command(rich_help_panel=LOOK)(recipes)


def sheets(
    out: Out,
    layer: LayersOfIndex = None,
    units: Units = "all",
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Recipe of the renderings to show, by name or TOML file.",
            show_default="the one with most units",
        ),
    ] = None,
    page_units: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_COUNT, help="Units per page.", show_default="24; what --paper holds"),
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also write one PDF of all pages of a layer.")] = False,
    paper: Annotated[
        Paper | None, typer.Option(help="Pages of this size, to be printed.", show_default=False)
    ] = None,
    spotlight: Annotated[
        bool,
        typer.Option(
            "--spotlight",
            help="Outline in each image what drives the unit, for layers that see the whole input.",
        ),
    ] = False,
    beside: Beside = None,
    network: IndexedNetwork = None,
    weights: MovedWeights = None,
    data: MovedData = None,
    trust: Trust = False,
) -> None:
    """Draw contact sheets: synthetic images of units beside the real patches that activate them most.

    \b
    Examples:
      maxact sheets out/demo --layer blocks.4.2 --units 0-23
      maxact sheets out/demo --layer blocks.4.2 --recipe fourier --paper a4 --pdf
      maxact sheets out/demo --layer classifier --units 'tabby,lynx' --spotlight
      maxact sheets out/demo --layer blocks.4.2 --with out/finetuned
    """
    from pipeline.errors import UsageError
    from pipeline.query.index import open_index
    from viz.sheets.pages import draw_sheets
    from viz.sheets.side_by_side import draw_side_by_side

    if beside is not None and (pdf or spotlight or paper):
        raise UsageError("--pdf, --paper and --spotlight cannot be combined with --with; leave them out")
    if not spotlight and (network is not None or weights is not None):
        raise UsageError("--network and --weights are used by --spotlight only; add it or leave them out")
    if beside is not None:
        with (
            open_index(out, data=data or (), trust=trust) as index,
            open_index(beside, data=data or (), trust=trust) as other,
        ):
            files = draw_side_by_side(
                index,
                other,
                layers=layer or (),
                units=units,
                recipe=recipe,
                page_units=24 if page_units is None else page_units,
                reporter=console_reporter(),
            )
        print_files(files)
        return
    with open_index(out, data=data or (), trust=trust) as index:
        files = draw_sheets(
            index,
            layers=layer or (),
            units=units,
            recipe=recipe,
            page_units=page_units,
            pdf=pdf,
            paper=paper,
            spotlight=spotlight,
            network=network,
            weights=weights,
            reporter=console_reporter(),
        )
    print_files(files)


def render(
    out: Out,
    layer: LayersOfIndex = None,
    units: Units = "all",
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Recipe that `maxact recipes` lists, or a TOML file.",
            show_default="typical; fourier for objectives other than one unit",
        ),
    ] = None,
    objective: Annotated[
        str,
        typer.Option(
            help="What to maximise: point, channel, logit, energy, layer or decoder, or a sum such as "
            "'channel - 0.5*channel:7'. point@3,4 is one grid position; -channel minimises.",
        ),
    ] = "point",
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_COUNT,
            help="Optimisation steps; short for --set steps=N.",
            show_default="the recipe's",
        ),
    ] = None,
    seed: Seed = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set an option that `maxact recipes NAME` lists; repeatable.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_COUNT,
            help="Images to optimise together; affects speed only.",
            show_default="by device",
        ),
    ] = None,
    precision: Annotated[
        AskedPrecision,
        typer.Option(help="Number format of the optimisation; auto is bf16 if the processor has it."),
    ] = "auto",
    photo: Annotated[
        Path | None, typer.Option(help="Photograph that recipe dream starts from.", show_default=False)
    ] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|MODULE:FACTORY",
            help="Generator of recipe prior: a file of `maxact prior train`, or your own.",
            show_default="the one in OUT/prior",
        ),
    ] = None,
    generator_weights: Annotated[
        Path | None,
        typer.Option(help="Weights file for a `module:factory` generator.", show_default=False),
    ] = None,
    generator_code: Annotated[
        str | None,
        typer.Option(
            metavar="256x6x6",
            help="Shape of the codes of a `module:factory` generator.",
            show_default="as the generator says",
        ),
    ] = None,
    robust_copy: Annotated[
        Path | None,
        typer.Option(
            help="Robust copy for recipe robust: a file of `maxact robust train` for the same network.",
            show_default="the one in OUT/robust",
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_COUNT,
            help="Stop an image after this many steps without a better score.",
            show_default="the recipe's",
        ),
    ] = None,
    path: Annotated[
        bool,
        typer.Option(
            "--path/--no-path",
            help="Measure how similar the path of each rendering is to that of the unit's top patches.",
        ),
    ] = True,
    device: Device = "auto",
    network: IndexedNetwork = None,
    weights: MovedWeights = None,
    data: MovedData = None,
    trust: Trust = False,
    engine: SpreadBy = "local",
    address: Address = None,
    gpus_per_task: GpusPerTask = None,
    cpus_per_task: CpusPerTask = None,
    json_progress: JsonProgress = False,
) -> None:
    """Render synthetic images that activate units, by gradient ascent.

    Finished units are skipped, so the same command resumes an interrupted one.

    \b
    Examples:
      maxact render out/demo --layer blocks.4.2 --units 0-23
      maxact render out/demo --layer blocks.4.2 --units 0-23 --recipe fourier --steps 512
      maxact render out/demo --layer 'blocks.*' --units 0-7 --recipe octaves --seed 1
      maxact render out/demo --layer classifier --units leopard --objective logit
      maxact render out/demo --layer blocks.4.2 --units 7 --recipe dream --photo cat.jpg
      maxact render out/demo --layer 'blocks.*' --engine ray --address auto
    """
    from pipeline.assignments import parse_assignments
    from pipeline.config import EngineConfig
    from pipeline.query.index import open_index
    from viz.recipes.catalog import default_recipe, get_recipe
    from viz.render.render_index import render_index

    shorthands = {"steps": steps, "patience": patience}
    given = [f"{key}={value}" for key, value in shorthands.items() if value is not None]
    options = parse_assignments([*given, *(settings or [])], "--set")
    with open_index(out, data=data or (), trust=trust) as index:
        rows = render_index(
            index,
            get_recipe(default_recipe(objective) if recipe is None else recipe, options),
            layers=layer or (),
            units=units,
            seed=seed,
            objective=objective,
            batch=batch,
            precision=precision,
            network=network,
            weights=weights,
            photograph=photo,
            generator=generator,
            generator_weights=generator_weights,
            generator_code=generator_code,
            robust_copy=robust_copy,
            path=path,
            device=device,
            reporter=console_reporter(as_json=json_progress),
            engine=EngineConfig(engine, address, gpus_per_task, cpus_per_task),
            cache=cache_folder(),
        )
    print_files(out / row.file for row in rows)


def recipes(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Recipe to show.", show_default=False)
    ] = None,
) -> None:
    """List the recipes, or the options of one recipe with their defaults.

    \b
    Examples:
      maxact recipes
      maxact recipes octaves
    """
    from viz.recipes.catalog import RECIPES, describe_recipe, get_recipe, summarise_recipe

    if name is None:
        for key in RECIPES:
            print_line(f"{key:10} {summarise_recipe(RECIPES[key])}")
        return
    for key, value, what in describe_recipe(get_recipe(name)):
        print_line(f"{f'{key}={value}':28} {what}")
