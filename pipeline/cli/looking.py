"""The commands that show networks and their layers: `networks`, `layers`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.options import (
    LOOK,
    AsCsv,
    AsJson,
    At,
    Dictionary,
    Directions,
    Input,
    Kind,
    LayerGlobs,
    SafeCsv,
    all_directions,
    cache_folder,
)
from pipeline.cli.output import print_line, print_rows

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(rich_help_panel=LOOK)(networks)
    app.command(rich_help_panel=LOOK)(layers)


def networks(
    pattern: Annotated[
        str | None,
        typer.Argument(
            metavar="[GLOB]",
            help="List only the names that match.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    safe_csv: SafeCsv = False,
) -> None:
    """List the known networks, their default layers and the source of their weights.

    \b
    Examples:
      maxact networks
      maxact networks 'timm:convnext*'
    """
    from pipeline.networks.network import list_networks

    columns = ("network", "default layers", "weights")
    print_rows(columns, list_networks(pattern), as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)


def layers(
    network: Annotated[
        str, typer.Argument(metavar="NETWORK", help="Name that `maxact networks` lists, or module:factory.")
    ] = "efficientnet_lite0",
    patterns: LayerGlobs = None,
    weights: Annotated[
        str, typer.Option(metavar="FILE|random", help="Weights to load; shapes do not depend on them.")
    ] = "random",
    input: Input = None,
    directions: Directions = None,
    dictionary: Dictionary = None,
    at: At = None,
    kind: Kind = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    safe_csv: SafeCsv = False,
) -> None:
    """List a network's layers: kind, units, grid, receptive field and stride, in input pixels.

    \b
    Examples:
      maxact layers efficientnet_lite0
      maxact layers torchvision:googlenet --layers 'inception4*'
    """
    from pipeline.data.dataset import default_cache
    from pipeline.layers.choose import choose_layers
    from pipeline.layers.layer import LISTED, listed
    from pipeline.networks.network import load_network

    added = all_directions(directions, dictionary, at)
    loaded = load_network(network, weights=weights, input=input or (), directions=added)
    for note in loaded.notes:
        print_line(note, error=True)
    found = choose_layers(
        loaded,
        patterns or (),
        kind=kind,
        cache=(cache_folder() or default_cache()) / "fields",
    )
    print_rows(LISTED, [listed(layer) for layer in found], as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)
