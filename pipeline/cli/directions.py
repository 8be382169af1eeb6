"""The command that finds directions of a layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.choices import DirectionMethod
from pipeline.cli.options import (
    INDEX,
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


def directions(
    out: Out,
    layer: Annotated[str, typer.Option(help="Layer of the index.")],
    method: Annotated[DirectionMethod, typer.Option(help="How directions are found.")] = "pca",
    n: Annotated[int, typer.Option("-n", min=1, max=MAX_COUNT, help="Number of directions.")] = 64,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write.", show_default="LAYER-METHOD.safetensors"),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    network: IndexedNetwork = None,
    weights: MovedWeights = None,
    data: MovedData = None,
    trust: Trust = False,
) -> None:
    """Find directions of a layer on the indexed images: PCA, NMF or k-means.

    The file is a dictionary: index the same dataset with --dictionary FILE --at LAYER, and each direction is
    a unit.

    \b
    Examples:
      maxact directions out/demo --layer blocks.4.2 -n 16
      maxact directions out/demo --layer blocks.4.2 --method kmeans -n 100 --output parts.safetensors
    """
    from pipeline.directions.find import find_directions
    from pipeline.errors import UsageError
    from pipeline.query.index import open_index

    path = output or Path(f"{layer.replace('/', '_')}-{method}.safetensors")
    if path.suffix != ".safetensors":
        raise UsageError(f"--output must end in .safetensors, got {str(path)!r}")
    with open_index(out, data=data or (), trust=trust) as index:
        find_directions(
            index,
            layer,
            path,
            method=method,
            n=n,
            seed=seed,
            network=network,
            weights=weights,
            device=device,
            reporter=console_reporter(),
        )
    print_files([path])


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(rich_help_panel=INDEX)(directions)
