"""The commands that draw, added to the one app of `pipeline.cli.app`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.choices import AskedPrecision
from pipeline.cli.app import app, main
from pipeline.cli.options import (
    ASK,
    DRAW,
    LOOK,
    MAX_COUNT,
    AsCsv,
    AsJson,
    Device,
    IndexedNetwork,
    LayersOfIndex,
    MovedData,
    MovedWeights,
    Out,
    SafeCsv,
    Seed,
    Trust,
    Units,
)
from pipeline.cli.output import choose_form, print_files, print_line, write_rows
from pipeline.progress import ConsoleReporter, readable_count
from viz.choices import Paper

__all__ = ["app", "main"]


Beside = Annotated[
    Path | None,
    typer.Option(
        "--with",
        metavar="OTHER",
        help="Index of the same dataset; each unit is shown beside its nearest there.",
        show_default=False,
    ),
]


@app.command(rich_help_panel=DRAW)
def sheets(
    out: Out,
    layer: LayersOfIndex = None,
    units: Units = "all",
    recipe: Annotated[
        str | None,
        typer.Option(help="Recipe of the renderings to show.", show_default="the one with most units"),
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
            help="Of layers that see the whole input, outline in each image what drives the unit.",
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
                reporter=ConsoleReporter(),
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
            reporter=ConsoleReporter(),
        )
    print_files(files)


@app.command(rich_help_panel=DRAW)
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
            help="What to maximise: point, channel, logit, energy or layer, or a sum such as "
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
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_COUNT,
            help="Stop an image after this many steps without a better score.",
            show_default="the recipe's",
        ),
    ] = None,
    device: Device = "auto",
    network: IndexedNetwork = None,
    weights: MovedWeights = None,
    data: MovedData = None,
    trust: Trust = False,
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
    """
    from pipeline.assignments import parse_assignments
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
            device=device,
            reporter=ConsoleReporter(),
        )
    print_files(out / row.file for row in rows)


@app.command(rich_help_panel=DRAW)
def atlas(
    out: Out,
    layer: LayersOfIndex = None,
    units: Units = "all",
    max_side: Annotated[
        int, typer.Option(min=32, max=MAX_COUNT, help="Longer side of the whole photographs, in pixels.")
    ] = 320,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Quality of the WebP pictures.")] = 65,
    maps: Annotated[
        bool,
        typer.Option(
            "--maps/--no-maps",
            help="Show where in the photographs a unit is active; this runs the network on them.",
        ),
    ] = True,
    network: IndexedNetwork = None,
    weights: MovedWeights = None,
    data: MovedData = None,
    trust: Trust = False,
    other: Beside = None,
    zip_file: Annotated[
        Path | None,
        typer.Option(
            "--zip", metavar="FILE", help="Also write the atlas as one ZIP file.", show_default=False
        ),
    ] = None,
    export: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            metavar="embedding-atlas FILE",
            help="Also write the units as a Parquet file for the program embedding-atlas.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Build a web site of an index in OUT/atlas, to browse from a file or a static host.

    It has a page for each layer, unit, image and label. Files that would not change are kept, so the
    same command continues an interrupted build, and updates the atlas after more units were rendered.

    \b
    Examples:
      maxact atlas out/demo
      maxact atlas out/demo --layer 'blocks.4.*' --units 0-99
      maxact atlas out/demo --with out/other
      maxact atlas out/demo --zip demo.zip --export embedding-atlas units.parquet
    """
    from pipeline.query.index import open_index
    from viz.atlas.build import build_atlas
    from viz.atlas.export import check_format

    if export:
        check_format(export[0])
    with contextlib.ExitStack() as stack:
        index = stack.enter_context(open_index(out, data=data or (), trust=trust))
        summary = build_atlas(
            index,
            layers=layer or (),
            units=units,
            max_side=max_side,
            quality=quality,
            maps=maps,
            network=network,
            weights=weights,
            other=stack.enter_context(open_index(other, trust=trust)) if other else None,
            archive=zip_file,
            export=export[1] if export else None,
            reporter=ConsoleReporter(),
        )
    megabytes = summary.size / 1e6
    print_line(
        f"{readable_count(summary.layers, 'layer')}, {readable_count(summary.units, 'unit')}, "
        f"{readable_count(summary.photographs, 'photograph')}, {megabytes:,.1f} MB",
        error=True,
    )
    print_files([summary.page, *(path for path in (zip_file, export and export[1]) if path)])


@app.command(rich_help_panel=ASK)
def explain(
    out: Out,
    photographs: Annotated[
        list[str],
        typer.Argument(metavar="PHOTO...", help="Files, URLs, or keys of images of the indexed dataset."),
    ],
    layer: LayersOfIndex = None,
    n: Annotated[int, typer.Option("-n", min=1, max=MAX_COUNT, help="Units of each layer.")] = 8,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="PHOTO",
            help="Another photograph: show the units that differ most between the two.",
            show_default=False,
        ),
    ] = None,
    between: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Two classes: show the units that pull the network to each of them.",
            show_default=False,
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also draw a PNG: where in the photograph each unit is active, and its top patches.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    network: IndexedNetwork = None,
    weights: MovedWeights = None,
    data: MovedData = None,
    trust: Trust = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    safe_csv: SafeCsv = False,
) -> None:
    """Show which units a photograph drives, compared with all indexed images.

    \b
    Examples:
      maxact explain out/demo cat.jpg
      maxact explain out/demo cat.jpg --layer 'blocks.[45].*' -n 4 --sheet cat.png
      maxact explain out/demo cat.jpg --against dog.jpg
      maxact explain out/demo cat.jpg --between 'tabby,lynx' --json
    """
    from pipeline.errors import UsageError
    from pipeline.explain.explainer import Explainer
    from pipeline.explain.photographs import find_photograph, read_photograph
    from pipeline.explain.rows import Explained, explain_rows
    from pipeline.query.index import open_index
    from pipeline.query.indexed_network import index_network
    from viz.sheets.explanation import draw_explanation

    form = choose_form(as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise UsageError(f"--sheet writes a PNG; give a name that ends in .png, got {str(sheet)!r}")
    asked = Explained(
        n=n, maps=sheet is not None, against=against, classes=between, photographs=len(photographs)
    )
    reporter = ConsoleReporter()
    with open_index(out, data=data or (), trust=trust) as index:
        index.choose(layer or ())
        for each in [*photographs, *([] if against is None else [against])]:
            find_photograph(index, each)  # before the network is loaded
        loaded = index_network(index, network=network, weights=weights)
        read = [read_photograph(index, each) for each in photographs]
        other = None if against is None else read_photograph(index, against)
        explainer = Explainer(index, loaded, layers=layer or (), device=device)
        columns, rows, notes, explained = explain_rows(explainer, read, other, asked, reporter)
        if sheet is not None:
            draw_explanation(index, explained[0], read[0].data, sheet, reporter=reporter)
    for note in notes:
        print_line(note, error=True)
    if form == "table" and len(read) == 1 and columns[0] == "photograph":
        columns, rows = columns[1:], [row[1:] for row in rows]
    write_rows(sys.stdout, columns, rows, form)
    if sheet is not None:
        print_line(str(sheet), error=True)


@app.command(rich_help_panel=LOOK)
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


@app.command("project", rich_help_panel=DRAW)
def project_command(
    out: Out,
    layer: LayersOfIndex = None,
    units: Units = "all",
    method: Annotated[
        str,
        typer.Option(metavar="NAME,...|all", help="Projections: activation, guided, gradient, deconvnet."),
    ] = "activation,guided",
    top: Annotated[int, typer.Option(min=1, max=MAX_COUNT, help="Images to show per unit.")] = 9,
    network: IndexedNetwork = None,
    weights: MovedWeights = None,
    data: MovedData = None,
    trust: Trust = False,
) -> None:
    """Draw what in a unit's top images activates it: activation map, guided, gradient, deconvnet.

    \b
    Examples:
      maxact project out/demo --layer blocks.4.2 --units 0-7
      maxact project out/demo --layer blocks.2.1 --units 3 --method all
    """
    from pipeline.query.index import open_index
    from viz.projections.page import draw_projections
    from viz.projections.project import parse_methods

    methods = parse_methods(method)
    with open_index(out, data=data or (), trust=trust) as index:
        files = draw_projections(
            index,
            layers=layer or (),
            units=units,
            methods=methods,
            images=top,
            network=network,
            weights=weights,
            reporter=ConsoleReporter(),
        )
    print_files(files)


prior_app = typer.Typer(
    no_args_is_help=True,
    help="Train a generator for the recipe `prior`.\n\n\b\nExamples:\n"
    "  maxact prior train out/demo --layer blocks.4.2\n",
)
app.add_typer(prior_app, name="prior", rich_help_panel=DRAW)


@prior_app.command("train")
def prior_train(
    out: Out,
    layer: Annotated[str, typer.Option(help="Layer of the index whose features are decoded.")],
    size: Annotated[int, typer.Option(max=4096, help="Height and width of the images, in pixels.")] = 64,
    steps: Annotated[int, typer.Option(min=1, max=MAX_COUNT, help="Training steps.")] = 1500,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Images per step.")] = 16,
    adversarial: Annotated[
        float, typer.Option(min=0, max=1e6, help="Weight of the adversarial loss; 0 trains without one.")
    ] = 0.0,
    seed: Seed = 0,
    device: Device = "auto",
    network: IndexedNetwork = None,
    weights: MovedWeights = None,
    data: MovedData = None,
    trust: Trust = False,
) -> None:
    """Train a decoder from a layer's features back to images, for the recipe `prior`.

    The same command resumes from the last checkpoint.

    \b
    Examples:
      maxact prior train out/demo --layer blocks.4.2
      maxact prior train out/photos --layer blocks.4.2 --size 128 --steps 20000 --adversarial 0.05
    """
    from pipeline.devices import find_device
    from pipeline.query.index import open_index
    from pipeline.query.indexed_network import index_network
    from viz.priors.options import PriorOptions
    from viz.priors.training import train_prior

    options = PriorOptions(size=size, steps=steps, batch=batch, adversarial=adversarial, seed=seed)
    with open_index(out, data=data or (), trust=trust) as index:
        chosen = index.layer(layer)
        loaded = index_network(index, network=network, weights=weights)
        loaded.module.to(find_device(device))
        print_files([train_prior(index, loaded, chosen, options, reporter=ConsoleReporter())])
