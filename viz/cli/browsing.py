"""The commands that make pages to browse: `atlas`, `serve`."""

from __future__ import annotations

import contextlib
import importlib.util
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.engine_options import (
    Address,
    CpusPerTask,
    JsonProgress,
    SpreadBy,
)
from pipeline.cli.options import (
    DRAW,
    MAX_COUNT,
    Device,
    IndexedNetwork,
    LayersOfIndex,
    MovedData,
    MovedWeights,
    Out,
    Trust,
    Units,
    cache_folder,
    index_folder,
)
from pipeline.cli.output import print_files, print_line
from pipeline.cli.reporting import console_reporter
from pipeline.progress import readable_count
from viz.cli.drawing import Beside

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(rich_help_panel=DRAW)(atlas)
    app.command(rich_help_panel=DRAW)(serve)


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
    engine: SpreadBy = "local",
    address: Address = None,
    cpus_per_task: CpusPerTask = None,
    json_progress: JsonProgress = False,
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
      maxact atlas out/demo --engine ray --address auto
    """
    from pipeline.config import EngineConfig
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
            reporter=console_reporter(as_json=json_progress),
            engine=EngineConfig(engine, address, None, cpus_per_task),
        )
    megabytes = summary.size / 1e6
    print_line(
        f"{readable_count(summary.layers, 'layer')}, {readable_count(summary.units, 'unit')}, "
        f"{readable_count(summary.photographs, 'photograph')}, {megabytes:,.1f} MB",
        error=True,
    )
    print_files([summary.page, *(path for path in (zip_file, export and export[1]) if path)])


def serve(
    outs: Annotated[
        list[Path],
        typer.Argument(metavar="OUT...", parser=index_folder, help="Folders of indexes, or their addresses."),
    ],
    host: Annotated[
        str, typer.Option(help="Name or address to listen on; 0.0.0.0 is every address of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 is any free one.")] = 8765,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Another name under which browsers reach the server, such as that of a proxy; repeatable.",
            show_default=False,
        ),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the address in the browser.")] = False,
    maps: Annotated[
        bool,
        typer.Option(
            "--maps/--no-maps",
            help="Show where in the photographs a unit is active; this runs the network on them.",
        ),
    ] = True,
    render: Annotated[
        bool, typer.Option("--render/--no-render", help="Offer to render units into the index.")
    ] = True,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="Stop the query after this time.")] = 30.0,
    device: Device = "auto",
    network: IndexedNetwork = None,
    weights: MovedWeights = None,
    data: MovedData = None,
    trust: Trust = False,
) -> None:
    """Serve the atlas of indexes live, with SQL, your own photographs, and rendering on request.

    The pages are those of `maxact atlas`, without a build. The address that is printed carries a token:
    who has it may run SQL, upload photographs and render.
    Ctrl-C ends the server.

    \b
    Examples:
      maxact serve out/demo
      maxact serve out/demo out/other --port 8000 --open
      maxact serve out/demo --host 0.0.0.0 --allow-host lab-box.example.org --no-render
    """
    from pipeline.errors import UsageError

    for package in ("starlette", "uvicorn", "python_multipart"):
        if importlib.util.find_spec(package) is None:
            raise UsageError(
                f"maxact serve needs {package}, which is not installed; run `pip install 'maxact[serve]'`"
            )
    from viz.server.live_atlas import LiveOptions
    from viz.server.run import Binding, serve_indexes

    if len(outs) > 1 and (data or network is not None or weights is not None):
        raise UsageError(
            "--data, --network and --weights are for one index; serve each in a command of its own"
        )

    def started(address: str) -> None:
        print_line(address)
        print_line("Ctrl-C ends the server", error=True)
        if open_browser:
            webbrowser.open(address)

    serve_indexes(
        outs,
        Binding(host, port, tuple(allow_host or ())),
        LiveOptions(trust, network, weights, device, maps, render, timeout, cache_folder()),
        data=data or (),
        reporter=console_reporter(),
        started=started,
    )
