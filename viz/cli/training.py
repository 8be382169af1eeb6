"""The commands that train on an index: `prior train`, `robust train`."""

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
    robust_app.command("train")(robust_train)
    app.add_typer(robust_app, name="robust", rich_help_panel=DRAW)


prior_app = typer.Typer(
    cls=HelpGroup,
    no_args_is_help=True,
    help="Train a generator for the recipe `prior`.\n\n\b\nExamples:\n"
    "  maxact prior train out/demo --layer blocks.4.2\n",
)

robust_app = typer.Typer(
    cls=HelpGroup,
    no_args_is_help=True,
    help="Train a robust copy of the network for the recipe `robust`.\n\n\b\nExamples:\n"
    "  maxact robust train out/demo\n",
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


def robust_train(
    out: Out,
    steps: Annotated[int, typer.Option(min=1, max=MAX_COUNT, help="Training steps.")] = 2000,
    batch: Annotated[int, typer.Option(min=2, max=4096, help="Crops of images per step.")] = 16,
    noise: Annotated[
        float,
        typer.Option(
            min=0.01, max=64, help="Root mean square of the change of a pixel, in levels of 0 to 255."
        ),
    ] = 2.0,
    size: Annotated[int, typer.Option(min=32, max=4096, help="Side of the crops, in pixels.")] = 112,
    rate: Annotated[float, typer.Option(min=1e-8, max=1, help="Highest learning rate.")] = 3e-4,
    seed: Seed = 0,
    device: Device = "auto",
    network: IndexedNetwork = None,
    weights: MovedWeights = None,
    data: MovedData = None,
    trust: Trust = False,
) -> None:
    """Train a copy of the network whose features hardly change with small changes of a picture.

    Pictures of the recipe robust are made with this copy. Features of all layers of the index are kept;
    no labels are needed. The same command resumes from the last checkpoint.

    \b
    Examples:
      maxact robust train out/demo
      maxact robust train out/photos --steps 10000 --batch 64
      maxact render out/photos --layer blocks.4.2 --units 0-23 --recipe robust
    """
    from pipeline.devices import find_device
    from pipeline.query.index import open_index
    from pipeline.query.indexed_network import index_network
    from viz.robust.options import RobustOptions
    from viz.robust.training import train_robust

    options = RobustOptions(steps=steps, batch=batch, noise=noise, size=size, rate=rate, seed=seed)
    with open_index(out, data=data or (), trust=trust) as index:
        loaded = index_network(index, network=network, weights=weights)
        loaded.module.to(find_device(device))
        print_files([train_robust(index, loaded, options, reporter=console_reporter())])
