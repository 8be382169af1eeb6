"""The command that trains a generator: `prior train`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.help_text import HelpGroup
from pipeline.cli.options import (
    DRAW,
    MAX_COUNT,
    Device,
    IndexedNetwork,
    MovedData,
    MovedWeights,
    Out,
    Seed,
    Trust,
)
from pipeline.cli.output import print_files
from pipeline.cli.reporting import console_reporter

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    prior_app.command("train")(prior_train)
    app.add_typer(prior_app, name="prior", rich_help_panel=DRAW)


prior_app = typer.Typer(
    cls=HelpGroup,
    no_args_is_help=True,
    help="Train a generator for the recipe `prior`.\n\n\b\nExamples:\n"
    "  maxact prior train out/demo --layer blocks.4.2\n",
)


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
        print_files([train_prior(index, loaded, chosen, options, reporter=console_reporter())])
