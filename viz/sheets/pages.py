"""Write the sheets of a layer, page by page, as PNG and PDF."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.errors import RenderError, UsageError, did_you_mean
from pipeline.images.preprocess import Preprocess
from pipeline.layers.layer import Layer
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index
from pipeline.query.selection import ALL_UNITS, Patterns, Units
from pipeline.store.files import atomic_path
from pipeline.version import installed_version
from viz.planning.effective_field import narrowed
from viz.render.table import Rendered, read_renders
from viz.sheets.cells import gather_cells
from viz.sheets.draw import PageText, draw_page

__all__ = ["PAGE_UNITS", "draw_sheets"]

PAGE_UNITS = 24
"""Units on a page unless asked otherwise."""

MAX_PAGE_UNITS = 120
"""More would make an image of over 100 megapixels."""

LEGEND = (
    "In each cell on the left, an image synthesised to drive the unit. On the right, the real "
    "images that drive it most, strongest first, each cut to the patch that the unit saw, with "
    "its label and the unit's activation; every photograph once. Plain areas lie outside what the "
    "network was shown. The plot shows the activations of all images, the best of them, and the "
    "synthetic one's."
)


def draw_sheets(
    index: Index,
    *,
    layers: Patterns = (),
    units: Units = ALL_UNITS,
    recipe: str | None = None,
    page_units: int = PAGE_UNITS,
    pdf: bool = False,
    reporter: Reporter | None = None,
) -> list[Path]:
    """Draw contact sheets of units, one PNG per page, into OUT/sheets.

    Args:
        index: open.
        layers: names or globs, a plain string is one of them; all layers for none.
        units: numbers, or text such as `0-23`, in the order they are to be drawn.
        recipe: recipe of the renderings to show; None takes the one with the most of these units.
        page_units: units on one page, 1 to `MAX_PAGE_UNITS`.
        pdf: also write one PDF of all pages of a layer.
        reporter: shown progress.

    Returns:
        The files written, layer by layer: the pages in order, then the PDF.

    Raises:
        LayerError: for a layer that is not in the index.
        RenderError: when nothing was rendered with the recipe that was asked for.
        SourceError: when the dataset is no longer where it was indexed.
        UsageError: for a unit that a layer does not have, or a page of another number of units.
    """
    chosen = index.choose(layers, units)
    if not 1 <= page_units <= MAX_PAGE_UNITS:
        raise UsageError(f"a page holds 1 to {MAX_PAGE_UNITS} units, got {page_units}")
    return [
        file
        for layer, numbers in chosen
        for file in _draw_layer(index, layer, numbers, recipe, page_units, pdf, reporter or Silent())
    ]


def _draw_layer(
    index: Index,
    layer: Layer,
    units: Sequence[int],
    recipe: str | None,
    page_units: int,
    pdf: bool,
    reporter: Reporter,
) -> list[Path]:
    """The pages of one layer, and their PDF."""
    if not units:
        raise UsageError(f"no units of {layer.name} to draw")
    renders, recipe = _choose_renders(index.out, layer.name, units, recipe)
    seen = _painted_field(layer, [row for unit in units for row in renders.get(unit, ())])
    folder = index.out / "sheets"
    folder.mkdir(exist_ok=True)
    chunks = [units[first : first + page_units] for first in range(0, len(units), page_units)]
    files: list[Path] = []
    with reporter.task(f"sheets of {layer.name}", len(units), "units") as task:
        for number, chunk in enumerate(chunks, start=1):
            cells = gather_cells(index, seen, chunk, renders)
            text = _page_text(index, layer, seen, chunk, recipe, f"{number} of {len(chunks)}")
            files.append(folder / f"{_stem(layer.name, recipe, chunk)}.png")
            _save_png(draw_page(cells, text), files[-1], f"{text.title} {text.subtitle}")
            task.advance(len(chunk))
    if pdf:
        path = folder / f"{_stem(layer.name, recipe, units)}.pdf"
        _save_pdf(files, path)
        files.append(path)
    return files


def _choose_renders(
    out: Path, layer: str, units: Sequence[int], recipe: str | None
) -> tuple[dict[int, list[Rendered]], str | None]:
    """The renderings to show, of one recipe and one objective; the recipe's name for the title."""
    found = read_renders(out, layer)
    kinds = Counter(
        kind
        for unit in units
        for kind in sorted({(row.recipe, row.objective) for row in found.get(unit, ())})
    )
    if recipe is not None:
        kinds = Counter({kind: n for kind, n in kinds.items() if kind[0] == recipe})
        if not kinds:
            known = sorted({row.recipe for rows in found.values() for row in rows})
            hint = did_you_mean(recipe, known) or (f"; there is {', '.join(known)}" if known else "")
            raise RenderError(
                f"none of these units of {layer} is rendered with recipe {recipe!r}{hint}; "
                f"run `maxact render {out} --layer {layer} --recipe {recipe}`"
            )
    if not kinds:
        return {}, None
    best = min(kinds, key=lambda kind: (-kinds[kind], kind))
    chosen = {
        unit: [row for row in rows if (row.recipe, row.objective) == best] for unit, rows in found.items()
    }
    return chosen, f"{best[0]} ({best[1]})"


def _painted_field(layer: Layer, rows: Sequence[Rendered]) -> Layer:
    """The layer, narrowed to the field that its renderings were painted in.

    Real patches are then cut to the same size as the synthetic ones. Positions other than the
    centre may have a field that a border cuts off, and say nothing.
    """
    centred = [row for row in rows if row.objective.strip() in ("point", "-point")]
    if not centred or layer.stride_y < 1 or layer.stride_x < 1:
        return layer
    return narrowed(layer, max(max(b.bottom - b.top, b.right - b.left) for b in (row.box for row in centred)))


def _sees(layer: Layer, seen: Layer, preprocess: Preprocess) -> str:
    """What a unit sees of the input, in words."""
    whole = f"of {preprocess.height} x {preprocess.width} px"
    if min(seen.rf_h - preprocess.height, seen.rf_w - preprocess.width) >= 0:
        return f"all {whole}"
    mostly = "mostly " if seen.rf_h * seen.rf_w < layer.rf_h * layer.rf_w else ""
    return f"{mostly}{seen.rf_h} x {seen.rf_w} {whole}"


def _page_text(
    index: Index, layer: Layer, seen: Layer, units: Sequence[int], recipe: str | None, page: str
) -> PageText:
    run = index.run
    images = run.get("counts", {}).get("images")
    facts = (
        ("Dataset", str(run["dataset"]["name"])),
        ("Images", f"{images:,}" if isinstance(images, int) else "-"),
        ("Units", f"{_span(units)} of {layer.units:,}"),
        ("A unit sees", _sees(layer, seen, index.preprocess)),
        ("Synthetic images", recipe or "none yet"),
        ("Page", page),
    )
    return PageText(
        title=layer.name,
        subtitle=str(run["network"]["name"]),
        facts=tuple((name, value.replace(" x ", " \N{MULTIPLICATION SIGN} ")) for name, value in facts),
        legend=LEGEND,
        colophon=_colophon(),
    )


def _span(units: Sequence[int]) -> str:
    first, last = min(units), max(units)
    if first == last:
        return str(first)
    if len(units) == last - first + 1:
        return f"{first}\N{EN DASH}{last}"
    return f"{len(units)}"


def _colophon() -> str:
    return f"maxact {installed_version() or ''}".rstrip()


def _stem(layer: str, recipe: str | None, units: Sequence[int]) -> str:
    """A file name that says what is on the page; choices with gaps say how many they are."""
    first, last = min(units), max(units)
    gaps = "" if len(units) == last - first + 1 else f"x{len(units)}"
    words = [layer, (recipe or "real").partition(" ")[0], f"{first:04}-{last:04}{gaps}"]
    return re.sub(r"[^\w.+-]", "_", "-".join(words))


def _save_png(page: Image.Image, path: Path, title: str) -> None:
    note = PngInfo()
    note.add_text("Title", title)
    note.add_text("Software", _colophon())
    with atomic_path(path) as temporary:
        page.save(temporary, format="PNG", pnginfo=note, compress_level=6)


def _save_pdf(pages: Sequence[Path], path: Path) -> None:
    """One page of the PDF per PNG, added one after another so that memory holds one."""
    with atomic_path(path) as temporary:
        for page, append in _with_flag(pages):
            with Image.open(page) as image:
                image.save(temporary, format="PDF", resolution=200, quality=92, append=append)


def _with_flag(pages: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    for number, page in enumerate(pages):
        yield page, number > 0
