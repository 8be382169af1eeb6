"""Gather a unit's pictures, numbers and words from an index, and write sheets page by page."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.decode import open_original
from pipeline.errors import BadImage, RenderError, StoreError, UsageError, did_you_mean
from pipeline.layers import Layer
from pipeline.progress import Reporter, Silent
from pipeline.query import Index, TopImage
from pipeline.store import atomic_path
from viz.crops import NEUTRAL, choose_images, crop_patch, seen_window
from viz.layout import TILE, TILES
from viz.renders import Rendered, read_renders
from viz.sheet import Bucket, Cell, PageText, Synthetic, Tile, draw_page
from viz.typography import readable_label

__all__ = ["PAGE_UNITS", "draw_sheets", "gather_cells"]

PAGE_UNITS = 24
"""Units on a page unless asked otherwise."""

MAX_PAGE_UNITS = 120
"""More would make an image of over 100 megapixels."""

ALL_RANKS = 1 << 30
"""However many images the index lists: duplicates and copies are passed over."""

FACETS = 4
"""Renderings of one unit that a sheet shows at most."""

MAJORITY = 4
"""Of the nine shown, images of one label that make it worth naming beside the unit."""

LEGEND = (
    "In each cell on the left, an image synthesised to drive the unit. On the right, the real "
    "images that drive it most, strongest first, each cut to the patch that the unit saw, with "
    "its label and the unit's activation; every photograph once. The plot shows the activations "
    "of all images, the best of them, and the synthetic one's."
)

_STATISTICS = """
SELECT unit, min, max, active_fraction FROM units
WHERE layer = $layer AND unit IN (SELECT unnest($units)) ORDER BY unit
"""

_HISTOGRAMS = """
SELECT unit, lower, upper, images FROM histograms
WHERE layer = $layer AND unit IN (SELECT unnest($units)) ORDER BY unit, lower
"""


def draw_sheets(
    index: Index,
    layer_name: str,
    units: Sequence[int],
    *,
    recipe: str | None = None,
    page_units: int = PAGE_UNITS,
    pdf: bool = False,
    reporter: Reporter = Silent(),  # noqa: B008
) -> list[Path]:
    """Draw a layer's units, one PNG per page, into OUT/sheets.

    Args:
        index: open.
        layer_name: a layer of the index.
        units: which, in the order they are to be drawn.
        recipe: of the renderings to show; None takes the one with the most of these units.
        page_units: on one page, 1 to `MAX_PAGE_UNITS`.
        pdf: also one PDF of all pages.
        reporter: told of every page.

    Returns:
        The files written: the pages in order, then the PDF.

    Raises:
        LayerError: for a layer that is not in the index.
        RenderError: when nothing was rendered with the recipe that was asked for.
        SourceError: when the dataset is no longer where it was indexed.
    """
    if not 1 <= page_units <= MAX_PAGE_UNITS or not units:
        raise UsageError(
            f"a page holds 1 to {MAX_PAGE_UNITS} units; got {page_units} for {len(units)} units"
        )
    layer = index.layer(layer_name)
    renders, recipe = _choose_renders(index.out, layer.name, units, recipe)
    folder = index.out / "sheets"
    folder.mkdir(exist_ok=True)
    chunks = [units[first : first + page_units] for first in range(0, len(units), page_units)]
    files: list[Path] = []
    with reporter.task(f"sheets of {layer.name}", len(units), "units") as task:
        for number, chunk in enumerate(chunks, start=1):
            cells = gather_cells(index, layer, chunk, renders)
            text = _page_text(index, layer, chunk, recipe, f"{number} of {len(chunks)}")
            files.append(folder / f"{_stem(layer.name, recipe, chunk)}.png")
            _save_png(draw_page(cells, text), files[-1], f"{text.title} {text.subtitle}")
            task.advance(len(chunk))
    if pdf:
        path = folder / f"{_stem(layer.name, recipe, units)}.pdf"
        _save_pdf(files, path)
        files.append(path)
    return files


def gather_cells(
    index: Index, layer: Layer, units: Sequence[int], renders: Mapping[int, Sequence[Rendered]]
) -> list[Cell]:
    """What a page shows of each unit.

    Raises:
        SourceError: when the dataset is no longer where it was indexed.
    """
    statistics = {row["unit"]: row for row in _rows(index, _STATISTICS, layer, units)}
    histograms: dict[int, list[Bucket]] = defaultdict(list)
    for row in _rows(index, _HISTOGRAMS, layer, units):
        histograms[row["unit"]].append((row["lower"], row["upper"], row["images"]))
    chosen = {
        unit: choose_images(images, TILES)
        for unit, images in index.tops(layer.name, units, n=ALL_RANKS).items()
        if not _constant(statistics.get(unit))
    }
    patches = _cut_patches(index, layer, chosen)
    classes = index.class_names(layer.name)
    cells = []
    for unit in units:
        images = chosen.get(unit, [])
        known = statistics.get(unit)
        tiles = tuple(
            Tile(patches[unit, i.image_id], readable_label(i.label or i.key), i.activation)
            for i in images
        )
        title, subtitle = _unit_words(unit, images, known, classes)
        cells.append(
            Cell(
                title=title,
                subtitle=subtitle,
                note=f"active in {_percent(known['active_fraction'])}" if known else "",
                tiles=tiles,
                best=known["max"] if known else max((t.activation for t in tiles), default=0.0),
                synthetic=_synthetic(index.out, renders.get(unit, ())),
                histogram=tuple(histograms[unit]),
            )
        )
    return cells


def _rows(index: Index, text: str, layer: Layer, units: Sequence[int]) -> list[dict[str, Any]]:
    return index.sql(text, layer=layer.name, units=list(units)).dicts()


def _constant(statistics: Mapping[str, Any] | None) -> bool:
    """A unit that is the same in every image has no top images, only the first ones."""
    return statistics is not None and statistics["min"] == statistics["max"]


def _cut_patches(
    index: Index, layer: Layer, chosen: Mapping[int, Sequence[TopImage]]
) -> dict[tuple[int, int], Image.Image]:
    """The patch of every (unit, image_id); each photograph is read and decoded once."""
    wanted: dict[int, list[TopImage]] = defaultdict(list)
    for images in chosen.values():
        for image in images:
            wanted[image.image_id].append(image)
    patches: dict[tuple[int, int], Image.Image] = {}
    for image_id, data in index.iterate_bytes(wanted):
        try:
            photograph = open_original(data)
        except BadImage as error:
            raise StoreError(
                f"image {wanted[image_id][0].key} cannot be decoded any more ({error}); "
                "the dataset has changed since it was indexed, index again"
            ) from error
        for image in wanted[image_id]:
            window = seen_window(layer, image.y, image.x, index.preprocess)
            patch = crop_patch(photograph, window, index.preprocess, TILE)
            patches[image.unit, image_id] = patch
    return patches


def _unit_words(
    unit: int,
    images: Sequence[TopImage],
    statistics: Mapping[str, Any] | None,
    classes: Sequence[str] | None,
) -> tuple[str, str]:
    """Title and subtitle of a cell."""
    if classes is not None:
        return readable_label(classes[unit]), f"unit {unit}"
    if statistics is not None and statistics["active_fraction"] == 0:
        return f"unit {unit}", "never active"
    labels = Counter(readable_label(image.label) for image in images if image.label)
    label, count = labels.most_common(1)[0] if labels else ("", 0)
    return f"unit {unit}", f"{label} {count}/{len(images)}" if count >= MAJORITY else ""


def _percent(share: float) -> str:
    if 0 < share < 0.001:
        return "under 0.1 %"
    return f"{share:.0%}".replace("%", " %") if share >= 0.1 else f"{share * 100:.2g} %"


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
            hint = did_you_mean(recipe, known) or (
                f"; there is {', '.join(known)}" if known else ""
            )
            raise RenderError(
                f"none of these units of {layer} is rendered with recipe {recipe!r}{hint}; "
                f"run `maxact render {out} --layer {layer} --recipe {recipe}`"
            )
    if not kinds:
        return {}, None
    best = min(kinds, key=lambda kind: (-kinds[kind], kind))
    chosen = {
        unit: [row for row in rows if (row.recipe, row.objective) == best]
        for unit, rows in found.items()
    }
    return chosen, f"{best[0]} ({best[1]})"


def _synthetic(out: Path, renders: Sequence[Rendered]) -> Synthetic | None:
    """A unit's renderings, each cut to what the target sees."""
    if not renders:
        return None
    shown = sorted(renders, key=lambda row: (row.status != "ok", row.facet, row.seed))[:FACETS]
    pictures = tuple(_open_render(out / row.file, row) for row in shown)
    best = max(shown, key=lambda row: (row.status == "ok", row.activation))
    return Synthetic(pictures, best.activation, failed=all(row.status != "ok" for row in shown))


def _open_render(path: Path, row: Rendered) -> Image.Image:
    """The part of a saved rendering that lies in the target's receptive field, made square."""
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except OSError as error:
        raise StoreError(
            f"rendering {path} cannot be read ({error}); run the same `maxact render` again"
        ) from error
    left, top = max(0, round(row.box_left)), max(0, round(row.box_top))
    right, bottom = (
        min(picture.width, round(row.box_right)),
        min(picture.height, round(row.box_bottom)),
    )
    if right > left and bottom > top:
        picture = picture.crop((left, top, right, bottom))
    if picture.width == picture.height:
        return picture
    side = max(picture.size)
    square = Image.new("RGB", (side, side), NEUTRAL)
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square


def _page_text(
    index: Index, layer: Layer, units: Sequence[int], recipe: str | None, page: str
) -> PageText:
    run, preprocess = index.run, index.preprocess
    size = f"{layer.rf_h} x {layer.rf_w}"
    whole = f"{preprocess.height} x {preprocess.width}"
    sees = layer.rf_h >= preprocess.height and layer.rf_w >= preprocess.width
    images = run.get("counts", {}).get("images")
    facts = (
        ("Dataset", str(run["dataset"]["name"])),
        ("Images", f"{images:,}" if isinstance(images, int) else "-"),
        ("Units", f"{_span(units)} of {layer.units:,}"),
        ("A unit sees", f"all of {whole} px" if sees else f"{size} of {whole} px"),
        ("Synthetic images", recipe or "none yet"),
        ("Page", page),
    )
    return PageText(
        title=layer.name,
        subtitle=str(run["network"]["name"]),
        facts=tuple(
            (name, value.replace(" x ", " \N{MULTIPLICATION SIGN} ")) for name, value in facts
        ),
        legend=LEGEND,
        colophon=_colophon(),
    )


def _span(units: Sequence[int]) -> str:
    first, last = min(units), max(units)
    if first == last:
        return str(first)
    if len(units) == last - first + 1:
        return f"{first}\N{EN DASH}{last}"
    return f"{len(units)} between {first} and {last}"


def _colophon() -> str:
    try:
        return f"maxact {version('maxact')}"
    except PackageNotFoundError:
        return "maxact"


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
