"""Build the atlas of an index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.choices import EngineName
from pipeline.config import EngineConfig
from pipeline.engines.open_engine import open_engine
from pipeline.engines.sameness import identify
from pipeline.errors import UsageError
from pipeline.networks.network import Network
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index
from pipeline.query.selection import ALL_UNITS, Patterns, Units
from pipeline.remote.local import refuse_spread
from pipeline.store.leftovers import writing
from pipeline.working_copies import pull
from viz.atlas.addresses import FRONT
from viz.atlas.archive import ENDING, refuse_target, zip_atlas
from viz.atlas.collect import collect_layer, collect_photographs
from viz.atlas.compare_pages import compare_data, compare_front, compare_layer
from viz.atlas.comparison import collect_comparison
from viz.atlas.content import LayerContent
from viz.atlas.copies import Projections, copy_projections, copy_renderings
from viz.atlas.data import layer_data, search_data
from viz.atlas.export import TABLE_ENDING, export_units
from viz.atlas.files import AtlasFiles
from viz.atlas.from_index import TOP, mask_maker_of, renders_of, site_of
from viz.atlas.links import Links, link_up
from viz.atlas.maps import MaskMaker
from viz.atlas.overview import summarise
from viz.atlas.pages import Around, Pages
from viz.atlas.photographs import PictureOptions, Pictures
from viz.atlas.spread import DrawWork, draw_spread
from viz.atlas.static import write_static
from viz.render.table import note_hidden

__all__ = ["AtlasSummary", "build_atlas"]


@dataclass(frozen=True, slots=True)
class AtlasSummary:
    """The result of a build.

    Args:
        page: the front page.
        layers: in the atlas.
        units: in the atlas.
        photographs: in the atlas.
        drawn: units whose pictures were drawn, not kept from an earlier build.
        size: of all files, in bytes.
    """

    page: Path
    layers: int
    units: int
    photographs: int
    drawn: int
    size: int


def build_atlas(
    index: Index,
    *,
    layers: Patterns = (),
    units: Units = ALL_UNITS,
    max_side: int = 320,
    quality: int = 65,
    maps: bool = True,
    network: Network | str | None = None,
    weights: str | Path | None = None,
    other: Index | None = None,
    archive: Path | None = None,
    export: Path | None = None,
    reporter: Reporter | None = None,
    engine: EngineConfig | EngineName = "local",
) -> AtlasSummary:
    """Build a static web site of an index in OUT/atlas.

    Files that are there already and would not change are kept, so the same call continues an
    interrupted build and updates an atlas after more units were rendered. Files of layers or units
    that are no longer chosen are removed.

    Args:
        index: open.
        layers: names or globs, a plain string is one of them; all layers for none.
        units: numbers, or text such as `0-23`.
        max_side: longer side of the whole photographs, in pixels.
        quality: of WebP pictures, 1 to 100.
        maps: show where in the photographs the units are active, which runs the network on them.
        network: used instead of the one that the index names; a name is loaded.
        weights: a file, where the one that the index names is no longer there.
        other: an index of the same dataset; each unit is shown beside its nearest there.
        archive: a ZIP file into which the atlas is written as well.
        export: a Parquet file of the units, which the program `embedding-atlas` opens.
        reporter: shows the progress.
        engine: what spreads the layers whose pictures are drawn.

    Raises:
        LayerError: if the index has no such layer.
        SourceError: if the dataset cannot be found.
        StoreError: if an image or a rendering cannot be read, or a file cannot be written.
        UsageError: if a layer has no such units, or an option is out of range.
    """
    reporter = reporter or Silent()
    _check(index.out, max_side, quality, archive, export)
    spread = EngineConfig(engine) if isinstance(engine, str) else engine
    refuse_spread(index.out, spread.name)
    pull(index.out, "renders/*", "projections/*", "atlas/*")
    note_hidden(index.out, index.run["fingerprint"], reporter)
    contents = _collect(index, layers, units, reporter)
    comparison = None
    if other is not None:
        comparison = collect_comparison(index, other, contents, renders_of(other), top=TOP)
    shown = {patch.image_id for content in contents for unit in content.units for patch in unit.patches}
    links = link_up(contents, collect_photographs(index, shown))
    maker = None
    if maps:
        probed = [content.layer for content in contents]
        maker = mask_maker_of(index, probed, reporter, network=network, weights=weights)
    options = PictureOptions(max_side, quality)
    # Photographs are run through the network one by one, on the CPU. The engine comes first: where there is
    # none, nothing has been written.
    opened = nullcontext() if spread.name == "local" else open_engine(spread, "cpu")
    with (
        opened as found,
        writing(index.out),
        AtlasFiles(index.out, index.run["fingerprint"]) as files,
    ):
        pictures = Pictures(index, files, options, maker)
        copy_renderings(index, files, contents, quality)
        projections = copy_projections(index, files, contents, quality)
        if found is None:
            drawn = pictures.draw(contents, links.photographs, reporter)
        else:
            work = _work(index, options, maker, found.device)
            drawn = draw_spread(found, work, pictures, files, contents, links.photographs, reporter)
        if other is not None and comparison is not None:
            known = collect_photographs(index, comparison.image_ids())
            Pictures(other, files, options, source=index).draw(comparison.contents, known, reporter)
        site = site_of(index, other=comparison.title if comparison else "")
        atlas = _Atlas(Pages(site, comparison), contents, links, projections, pictures, files)
        _write_pages(atlas, reporter)
        write_static(files)
        size = files.finish()
        if archive is not None:
            zip_atlas(index.out, archive, reporter)
        if export is not None:
            export_units(index, files.folder, contents, export)
    counted = sum(len(content.units) for content in contents)
    return AtlasSummary(files.folder / FRONT, len(contents), counted, len(shown), drawn, size)


def _work(index: Index, options: PictureOptions, maker: MaskMaker | None, device: torch.device) -> DrawWork:
    """What is done with every layer where an engine leaves this process."""
    network, layers = (None, ()) if maker is None else (maker.network, maker.layers)
    identity = {} if network is None else identify(network.module, device)
    out = index.out.absolute()
    return DrawWork(out, index.data, index.trusted, options, network, layers, identity)


def _check(out: Path, max_side: int, quality: int, archive: Path | None, export: Path | None) -> None:
    """Refuse options that are out of range, and files that must not be written."""
    if not 1 <= quality <= 100:
        raise UsageError(f"the quality is 1 to 100, got {quality}")
    if max_side < 32:
        raise UsageError(f"photographs are at least 32 pixels wide or high, got {max_side}")
    for target, ending in ((archive, ENDING), (export, TABLE_ENDING)):
        if target is not None:
            refuse_target(out, target, ending)


def _collect(index: Index, layers: Patterns, units: Units, reporter: Reporter) -> list[LayerContent]:
    chosen, renders = index.choose(layers, units), renders_of(index)
    contents = []
    with reporter.task("reading tables", len(chosen), "layers") as task:
        for layer, numbers in chosen:
            found = renders.get(layer.name, {})
            contents.append(collect_layer(index, layer, sorted(numbers), found, top=TOP))
            task.advance()
    return contents


@dataclass(frozen=True, slots=True)
class _Atlas:
    """An atlas whose pictures are drawn.

    Args:
        pages: writes pages.
        contents: of all layers, in forward order.
        links: between pages.
        projections: pages of projections.
        pictures: drew the pictures.
        files: of the atlas.
    """

    pages: Pages
    contents: Sequence[LayerContent]
    links: Links
    projections: Projections
    pictures: Pictures
    files: AtlasFiles


def _write_pages(atlas: _Atlas, reporter: Reporter) -> None:
    pages, contents, links, files = atlas.pages, atlas.contents, atlas.links, atlas.files
    total = sum(1 + len(content.units) for content in contents)
    total += len(links.photographs) + len(links.by_label) + 2
    summaries = [summarise(content) for content in contents]
    with reporter.task("writing pages", total, "pages") as task:

        def write(page: tuple[str, str], count: int = 1) -> None:
            files.write_text(*page)
            task.advance(count)

        write(pages.front(summaries))
        write(pages.sql())
        write(search_data(contents, links.by_label), 0)
        if pages.comparison is not None:
            write(compare_front(pages, contents, pages.comparison), 0)
        for place, content in enumerate(contents):
            before = contents[place - 1].layer if place else None
            after = contents[place + 1].layer if place + 1 < len(contents) else None
            write(pages.layer(content, summaries[place], before, after))
            write(layer_data(content), 0)
            if pages.comparison is not None:
                write(compare_layer(pages, contents, pages.comparison, place), 0)
                write(compare_data(content, pages.comparison), 0)
            for page in _unit_pages(atlas, content):
                write(page)
        for image_id, photograph in links.photographs.items():
            found = links.by_image.get(image_id, [])
            write(pages.image(photograph, found, len(found)))
        for label, found in links.by_label.items():
            shown = [links.photographs[image_id] for image_id in links.images_of.get(label, [])]
            write(pages.label(label, shown, len(shown), found, len(found)))


def _unit_pages(atlas: _Atlas, content: LayerContent) -> Iterator[tuple[str, str]]:
    """The pages of a layer's units."""
    units, grid = content.units, atlas.pictures.grid(content.layer)
    rendered = {unit.unit: bool(unit.renderings) for unit in units}
    for number, unit in enumerate(units):
        around = Around(
            photographs=atlas.links.photographs,
            before=units[number - 1].unit if number else None,
            after=units[number + 1].unit if number + 1 < len(units) else None,
            rendered=rendered,
            grid=grid,
            regions=atlas.pictures.regions(content, unit),
            projections=atlas.projections.get((unit.layer, unit.unit)),
        )
        yield atlas.pages.unit(content, unit, around)
