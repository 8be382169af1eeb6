"""The drawing commands, added to the one app of `pipeline.cli.app`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli.app import app, main
from pipeline.cli.options import DRAW, LOOK, Device, LayersOfIndex, MovedWeights, Out, Seed, Units

__all__ = ["app", "main"]


@app.command(rich_help_panel=DRAW)
def sheets(
    out: Out,
    layer: LayersOfIndex = None,
    units: Units = "all",
    recipe: Annotated[
        str | None, typer.Option(help="Of the renderings.", show_default="the one with most units")
    ] = None,
    page_units: Annotated[int, typer.Option(min=1, help="Units on a page.")] = 24,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also one PDF of all pages.")] = False,
) -> None:
    """Draw contact sheets: each unit's synthetic image beside the real patches that drive it.

    \b
    Examples:
      maxact sheets out/demo --layer blocks.4.2 --units 0-23
      maxact sheets out/demo --layer blocks.4.2 --recipe fourier --page-units 12 --pdf
    """
    from pipeline.progress import ConsoleReporter
    from pipeline.query.index import open_index
    from viz.sheets.pages import draw_sheets

    with open_index(out) as index:
        files = [
            file
            for chosen, wanted in index.choose(layer or [], units)
            for file in draw_sheets(
                index,
                chosen.name,
                wanted,
                recipe=recipe,
                page_units=page_units,
                pdf=pdf,
                reporter=ConsoleReporter(),
            )
        ]
    sys.stdout.writelines(f"{file}\n" for file in files)


@app.command(rich_help_panel=DRAW)
def render(
    out: Out,
    layer: LayersOfIndex = None,
    units: Units = "all",
    recipe: Annotated[
        str | None,
        typer.Option(
            help="A name that `maxact recipes` lists, or a TOML file.",
            show_default="typical; fourier for objectives that are not one unit",
        ),
    ] = None,
    objective: Annotated[
        str,
        typer.Option(
            help="point, channel, logit, energy or layer; sums like 'channel - 0.5*channel:7'; "
            "point@3,4 is a position, a minus in front asks for the lowest."
        ),
    ] = "point",
    steps: Annotated[int | None, typer.Option(min=1, help="Gradient steps; as --set steps=N.")] = None,
    seed: Seed = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the recipe; repeatable."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Units that climb together; changes only the speed.")
    ] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option(help="Of the climb; auto is bf16 where the processor computes in it."),
    ] = "auto",
    photo: Annotated[Path | None, typer.Option(help="The photograph a dream starts from.")] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|MODULE:FACTORY",
            help="Of recipe prior: a .pt of `maxact prior train`, or your own.",
            show_default="the one in OUT/prior",
        ),
    ] = None,
    generator_weights: Annotated[
        Path | None, typer.Option(help="Of a generator that a factory makes.")
    ] = None,
    generator_code: Annotated[
        str | None,
        typer.Option(metavar="256x6x6", help="Shape of its codes.", show_default="as the generator says"),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="Stop a picture whose score has not risen for so many steps."),
    ] = None,
    device: Device = "auto",
    weights: MovedWeights = None,
) -> None:
    """Render synthetic images of units: what drives them, found by gradient ascent.

    Finished units are skipped, so the same command goes on where it was stopped.

    \b
    Examples:
      maxact render out/demo --layer blocks.4.2 --units 0-23
      maxact render out/demo --layer blocks.4.2 --units 0-23 --recipe fourier --steps 512
      maxact render out/demo --layer 'blocks.*' --units 0-7 --recipe octaves --seed 1
      maxact render out/demo --layer classifier --units leopard --objective logit
      maxact render out/demo --layer blocks.4.2 --units 7 --recipe dream --photo cat.jpg
    """
    from pipeline.progress import ConsoleReporter
    from pipeline.query.index import open_index
    from viz.recipes.catalog import default_recipe, get_recipe
    from viz.recipes.option_text import parse_settings
    from viz.render.render_index import render_index

    name = recipe or default_recipe(objective)
    chosen = get_recipe(name, parse_settings(settings or [], steps=steps, patience=patience))
    with open_index(out) as index:
        rows = render_index(
            index,
            chosen,
            layers=layer or [],
            units=units,
            seed=seed,
            objective=objective,
            batch=batch,
            precision=precision,
            weights=weights,
            photograph=photo,
            generator=generator,
            generator_weights=generator_weights,
            generator_code=generator_code,
            device=device,
            reporter=ConsoleReporter(),
        )
    sys.stdout.writelines(f"{out / row.file}\n" for row in rows)


@app.command(rich_help_panel=LOOK)
def recipes(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Of one recipe.")] = None,
) -> None:
    """List the recipes, or one recipe's options with their defaults.

    \b
    Examples:
      maxact recipes
      maxact recipes octaves
    """
    from viz.recipes.catalog import RECIPES, describe_recipe, get_recipe, summarise_recipe

    if name is None:
        sys.stdout.writelines(f"{key:10} {summarise_recipe(RECIPES[key])}\n" for key in RECIPES)
        return
    options = describe_recipe(get_recipe(name))
    sys.stdout.writelines(f"{f'{key}={value}':28} {what}\n" for key, value, what in options)


@app.command("project", rich_help_panel=DRAW)
def project_command(
    out: Out,
    layer: LayersOfIndex = None,
    units: Units = "all",
    method: Annotated[
        str, typer.Option(help="deconvnet, guided, gradient, activation; with commas, or all.")
    ] = "all",
    top: Annotated[int, typer.Option(min=1, help="Real images of each unit.")] = 9,
    weights: MovedWeights = None,
) -> None:
    """Show what in a unit's top images drives it: deconvnet, guided, gradient, activation map.

    \b
    Examples:
      maxact project out/demo --layer blocks.4.2 --units 0-7
      maxact project out/demo --layer blocks.2.1 --units 3 --method deconvnet,activation
    """
    from pipeline.progress import ConsoleReporter
    from pipeline.query.index import open_index
    from viz.projections.page import draw_projections
    from viz.projections.project import parse_methods
    from viz.render.render_index import index_network

    methods, reporter = parse_methods(method), ConsoleReporter()
    with open_index(out) as index:
        chosen = index.choose(layer or [], units)
        network = index_network(index, weights)
        for each, wanted in chosen:
            files = draw_projections(index, network, each, wanted, methods, images=top, reporter=reporter)
            sys.stdout.writelines(f"{file}\n" for file in files)


prior_app = typer.Typer(
    no_args_is_help=True,
    help="Train a generator to render with.\n\n\b\nExamples:\n"
    "  maxact prior train out/demo --layer blocks.4.2\n",
)
app.add_typer(prior_app, name="prior", rich_help_panel=DRAW)


@prior_app.command("train")
def prior_train(
    out: Out,
    layer: Annotated[str, typer.Option(help="A layer of the index; its features are decoded.")],
    size: Annotated[int, typer.Option(help="Side of the images, in pixels.")] = 64,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training.")] = 1500,
    batch: Annotated[int, typer.Option(min=1, help="Images in a step.")] = 16,
    adversarial: Annotated[float, typer.Option(min=0, help="Weight of a critic; 0: none.")] = 0.0,
    seed: Seed = 0,
    device: Device = "auto",
    weights: MovedWeights = None,
) -> None:
    """Train a decoder from a layer's features back to images, for the recipe `prior`.

    The same command goes on from the last checkpoint.

    \b
    Examples:
      maxact prior train out/demo --layer blocks.4.2
      maxact prior train out/photos --layer blocks.4.2 --size 128 --steps 20000 --adversarial 0.05
    """
    from pipeline.progress import ConsoleReporter
    from pipeline.query.index import open_index
    from viz.priors.options import PriorOptions
    from viz.priors.training import train_prior
    from viz.render.render_index import find_device, index_network

    options = PriorOptions(size=size, steps=steps, batch=batch, adversarial=adversarial, seed=seed)
    with open_index(out) as index:
        chosen = index.layer(layer)
        network = index_network(index, weights)
        network.module.to(find_device(device))
        typer.echo(train_prior(index, network, chosen, options, reporter=ConsoleReporter()))
