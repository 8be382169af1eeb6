"""Write the sheets of a layer as PNG and PDF."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.errors import RenderError, UsageError, did_you_mean
from pipeline.file_names import file_name
from pipeline.images.preprocess import Preprocess
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index
from pipeline.query.indexed_images import ShownImages
from pipeline.query.indexed_network import index_network
from pipeline.query.selection import ALL_UNITS, Patterns, Units
from pipeline.store.derived import FINGERPRINT_NOTE
from pipeline.store.files import atomic_path, make_folder
from pipeline.store.leftovers import writing
from pipeline.version import installed_version
from pipeline.visible import visible
from viz.choices import Paper
from viz.recipes.catalog import recipe_name
from viz.render.field import rendered_field
from viz.render.table import Rendered, note_hidden, read_renders
from viz.sheets.cells import gather_cells
from viz.sheets.content import PageText
from viz.sheets.draw import draw_page
from viz.sheets.layout import PAGE_WIDTH, units_on_page
from viz.sheets.spotlights import Spotlights, sees_all

__all__ = [
    "MAX_PAGE_UNITS",
    "PAGE_UNITS",
    "choose_renders",
    "colophon",
    "draw_sheets",
    "page_facts",
    "save_page",
]

MILLIMETRES_PER_INCH = 25.4

PAGE_UNITS = 24
"""Default number of units on a page."""

MAX_PAGE_UNITS = 120
"""Maximum number of units on a page: about 100 megapixels."""

LEGEND = (
    "Each cell shows on the left a synthetic image that activates the unit. On the right are the real "
    "images with the highest activations, in descending order, each cropped to the unit's receptive "
    "field, with its label and activation; copies are omitted. Plain areas are outside the network's "
    "input. The plot shows the peaks of all images (their number on a logarithmic scale), the highest of "
    "them, and the activation of the synthetic image."
)

LETTERS = " A letter on an image is that of the synthetic image made from it."
"""Added to the legend where renderings of one unit are from different images."""

PAPERS: Mapping[Paper, tuple[float, float]] = {"a4": (210.0, 297.0), "letter": (215.9, 279.4)}
"""Width and height in millimetres."""


def draw_sheets(
    index: Index,
    *,
    layers: Patterns = (),
    units: Units = ALL_UNITS,
    recipe: str | None = None,
    page_units: int | None = None,
    pdf: bool = False,
    paper: Paper | None = None,
    spotlight: bool = False,
    network: Network | str | None = None,
    weights: str | Path | None = None,
    reporter: Reporter | None = None,
) -> list[Path]:
    """Draw contact sheets of units, one PNG per page, into OUT/sheets.

    Args:
        index: open.
        layers: names or globs, a plain string is one of them; all layers for none.
        units: numbers, or text such as `0-23`, in the order they are to be drawn.
        recipe: name or TOML file of the recipe whose renderings are shown; None takes the one with the most
            of these units.
        page_units: units on one page, 1 to `MAX_PAGE_UNITS`; by default `PAGE_UNITS`, or as many as the paper
            holds.
        pdf: also write one PDF of all pages of a layer.
        paper: size of the pages for print, `a4` or `letter`; None for pages as long as their cells.
        spotlight: of layers that see the whole input, outline in each image what drives the unit, and dim
            the rest; this loads the network and runs the images again.
        network, weights: for that, see `pipeline.query.indexed_network.index_network`.
        reporter: shown progress.

    Returns:
        The files written, layer by layer: the pages in order, then the PDF.

    Raises:
        LayerError: if the index has no such layer.
        RenderError: if none of the units has a rendering of `recipe`, or its file cannot be read.
        SourceError: if the dataset cannot be found, and the index has no thumbnails.
        UsageError: if a layer has no such units, or `page_units` is out of range.
    """
    chosen = index.choose(layers, units)
    if recipe is not None:
        recipe_name(recipe)  # a file that cannot be read is said before any work
    held = MAX_PAGE_UNITS if paper is None else units_on_page(_proportion(paper))
    if page_units is None:
        page_units = PAGE_UNITS if paper is None else held
    if not 1 <= page_units <= held:
        where = "a page" if paper is None else f"a page of {paper}"
        raise UsageError(f"{where} holds 1 to {held} units, got {page_units}")
    reporter = reporter or Silent()
    note_hidden(index.out, index.run["fingerprint"], reporter)
    images = ShownImages(index, reporter)
    lights: dict[str, Spotlights] = {}
    whole = [layer for layer, _ in chosen if sees_all(layer, index.preprocess)] if spotlight else []
    if whole:
        loaded = index_network(index, network=network, weights=weights)
        lights = {layer.name: Spotlights(index, loaded, layer) for layer in whole}
    with writing(index.out):
        return [
            file
            for layer, numbers in chosen
            for file in _draw_layer(
                images, layer, numbers, recipe, page_units, pdf, paper, lights.get(layer.name)
            )
        ]


def _draw_layer(
    images: ShownImages,
    layer: Layer,
    units: Sequence[int],
    recipe: str | None,
    page_units: int,
    pdf: bool,
    paper: Paper | None,
    spotlights: Spotlights | None,
) -> list[Path]:
    """The pages of one layer, and their PDF."""
    index, reporter = images.index, images.reporter
    if not units:
        raise UsageError(f"no units of {layer.name} to draw")
    renders, recipe = choose_renders(index, layer.name, units, recipe)
    seen = rendered_field(layer, [row for unit in units for row in renders.get(unit, ())])
    folder = index.out / "sheets"
    make_folder(folder)
    chunks = [units[first : first + page_units] for first in range(0, len(units), page_units)]
    files: list[Path] = []
    with reporter.task(f"sheets of {layer.name}", len(units), "units") as task:
        for number, chunk in enumerate(chunks, start=1):
            cells = gather_cells(index, seen, chunk, renders, images, spotlights)
            text = _page_text(index, layer, seen, chunk, recipe, f"{number} of {len(chunks)}")
            files.append(folder / f"{_stem(layer.name, recipe, chunk)}.png")
            if any(tile.facets for cell in cells for tile in cell.tiles):
                text = replace(text, legend=text.legend + LETTERS)
            page = draw_page(cells, text, proportion=None if paper is None else _proportion(paper))
            save_page(page, files[-1], f"{text.title} {text.subtitle}", index.run["fingerprint"])
            task.advance(len(chunk))
    if pdf:
        path = folder / f"{_stem(layer.name, recipe, units)}.pdf"
        _save_pdf(files, path, index.run["fingerprint"], paper)
        files.append(path)
    return files


def choose_renders(
    index: Index, layer: str, units: Sequence[int], recipe: str | None, *, needed: bool = True
) -> tuple[dict[int, list[Rendered]], str | None]:
    """Choose the recipe and objective with the most units.

    Args:
        index: open.
        layer: of the units.
        units: that are to be drawn.
        recipe: name or TOML file of the only one to consider; None for all.
        needed: whether it is an error that none of the units has a rendering of `recipe`.

    Returns:
        Its renderings by unit, and its title; none and None where there are none.

    Raises:
        RenderError: if a recipe is needed that none of the units has, or its file cannot be read.
    """
    found = read_renders(index.out, layer, index_fingerprint=index.run["fingerprint"])
    kinds = Counter(
        kind
        for unit in units
        for kind in sorted({(row.recipe, row.objective) for row in found.get(unit, ())})
    )
    if recipe is not None:
        name = recipe_name(recipe)
        kinds = Counter({kind: n for kind, n in kinds.items() if kind[0] == name})
        if not kinds and needed:
            known = sorted({row.recipe for rows in found.values() for row in rows})
            run = f"run `maxact render {index.out} --layer {layer} --recipe {recipe}`"
            others = f"; available: {', '.join(known)}; or {run}" if known else f"; {run}"
            hint = did_you_mean(name, known) or others
            raise RenderError(f"none of these units of {layer} has a rendering of recipe {name!r}{hint}")
    if not kinds:
        return {}, None
    best = min(kinds, key=lambda kind: (-kinds[kind], kind))
    chosen = {
        unit: [row for row in rows if (row.recipe, row.objective) == best] for unit, rows in found.items()
    }
    return chosen, f"{best[0]} ({best[1]})"


def _describe_field(layer: Layer, seen: Layer, preprocess: Preprocess) -> str:
    """Describe the size of the receptive field relative to the input."""
    whole = f"of {preprocess.height} x {preprocess.width} px"
    if min(seen.rf_h - preprocess.height, seen.rf_w - preprocess.width) >= 0:
        return f"all {whole}"
    mostly = "mostly " if seen.rf_h * seen.rf_w < layer.rf_h * layer.rf_w else ""
    return f"{mostly}{seen.rf_h} x {seen.rf_w} {whole}"


def _page_text(
    index: Index, layer: Layer, seen: Layer, units: Sequence[int], recipe: str | None, page: str
) -> PageText:
    return PageText(
        title=layer.name,
        subtitle=str(index.run["network"]["name"]),
        facts=page_facts(index, layer, seen, units, recipe, page),
        legend=LEGEND,
        colophon=colophon(),
    )


def page_facts(
    index: Index, layer: Layer, seen: Layer, units: Sequence[int], recipe: str | None, page: str
) -> tuple[tuple[str, str], ...]:
    """The facts in the header of a page: pairs of a name and a value.

    Args:
        index: open.
        layer: of the units.
        seen: the same with the receptive field that patches are cropped to.
        units: on the page.
        recipe: of the renderings; None for none.
        page: its number, in words.
    """
    images = index.run.get("counts", {}).get("images")
    facts = (
        ("Dataset", str(index.run["dataset"]["name"])),
        ("Images", f"{images:,}" if isinstance(images, int) else "-"),
        ("Units", f"{_format_units(units)} of {layer.units:,}"),
        ("A unit sees", _describe_field(layer, seen, index.preprocess)),
        ("Synthetic images", recipe or "none yet"),
        ("Page", page),
    )
    return tuple((name, value.replace(" x ", " \N{MULTIPLICATION SIGN} ")) for name, value in facts)


def _format_units(units: Sequence[int]) -> str:
    """Format contiguous units as a range, others as their number."""
    first, last = min(units), max(units)
    if first == last:
        return str(first)
    if len(units) == last - first + 1:
        return f"{first}\N{EN DASH}{last}"
    return f"{len(units)}"


def colophon() -> str:
    """Name and version of the program, for a footer."""
    return f"maxact {installed_version() or ''}".rstrip()


def _stem(layer: str, recipe: str | None, units: Sequence[int]) -> str:
    """Return a file name with layer, recipe and units; for units with gaps, it includes their number."""
    first, last = min(units), max(units)
    gaps = "" if len(units) == last - first + 1 else f"x{len(units)}"
    shown = file_name((recipe or "real").partition(" ")[0], dashes=True)
    return f"{file_name(layer)}-{shown}-{first:04}-{last:04}{gaps}"


def save_page(page: Image.Image, path: Path, title: str, index_fingerprint: str) -> None:
    """Write a page as a PNG that says from which index it was made.

    Raises:
        StoreError: when it cannot be written.
    """
    note = PngInfo()
    note.add_text("Title", visible(title))
    note.add_text("Software", colophon())
    note.add_text(FINGERPRINT_NOTE, index_fingerprint)
    with atomic_path(path) as temporary:
        page.save(temporary, format="PNG", pnginfo=note, compress_level=6)


def _proportion(paper: Paper) -> float:
    """Height of a paper over its width."""
    if paper not in PAPERS:
        raise UsageError(f"the paper must be {' or '.join(PAPERS)}, got {paper!r}")
    width, height = PAPERS[paper]
    return height / width


def _save_pdf(pages: Sequence[Path], path: Path, index_fingerprint: str, paper: Paper | None) -> None:
    """Write a PDF with one page per PNG, appended one at a time to keep only one in memory."""
    resolution = 200.0 if paper is None else PAGE_WIDTH / (PAPERS[paper][0] / MILLIMETRES_PER_INCH)
    about = {
        "title": path.stem,
        "creator": colophon(),
        "keywords": f"{FINGERPRINT_NOTE}={index_fingerprint}",
    }
    with atomic_path(path) as temporary:
        for page, append in _with_append_flag(pages):
            with Image.open(page) as image:
                image.save(temporary, format="PDF", resolution=resolution, quality=92, append=append, **about)


def _with_append_flag(pages: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Yield each page and whether it is appended to an earlier one."""
    for number, page in enumerate(pages):
        yield page, number > 0
