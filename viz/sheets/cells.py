"""Collect the content of cells from an index: patches, renderings, statistics and labels."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.errors import StoreError
from pipeline.layers.layer import Layer
from pipeline.progress import Silent
from pipeline.query.index import Index, TopImage
from pipeline.query.indexed_images import ShownImages
from viz.inputs.top_images import choose_images
from viz.paths.likeness import is_unusual
from viz.render.table import Rendered
from viz.sheets.content import FACET_LETTERS, Bucket, Cell, Synthetic, Tile
from viz.sheets.layout import TILE, TILES
from viz.sheets.patches import NEUTRAL, crop_patch, open_shown, seen_window
from viz.sheets.spotlight import spotlight
from viz.sheets.spotlights import Spotlights
from viz.sheets.typography import readable_label

__all__ = ["GOOD", "gather_cells", "open_rendering"]

ALL_RANKS = 1 << 30
"""More ranks than any index has: all top images are considered, as copies are skipped."""

GOOD = {"ok": "", "retried": "second attempt"}
"""Statuses of successful renderings, with the mark shown on a sheet."""

UNUSUAL_PATH = "unusual path"
"""The mark of a rendering that reaches its unit by another path than the unit's top patches."""

MAX_FACETS = 4
"""Maximum number of renderings shown for a unit."""

MIN_COMMON_LABEL = 4
"""A label is shown beside the unit if at least this many of its nine patches have it."""

ALWAYS_ACTIVE = 0.995
"""The active fraction is not shown if it is at least this high."""

_STATISTICS = """
SELECT unit, min, max, active_fraction FROM units
WHERE layer = $layer AND unit IN (SELECT unnest($units)) ORDER BY unit
"""

_NAMES = """
SELECT unit, concept, source FROM names
WHERE layer = $layer AND unit IN (SELECT unnest($units)) AND source <> 'linear' ORDER BY unit, rank
"""

_HISTOGRAMS = """
SELECT unit, lower, upper, images FROM histograms
WHERE layer = $layer AND unit IN (SELECT unnest($units)) ORDER BY unit, lower
"""


def gather_cells(
    index: Index,
    layer: Layer,
    units: Sequence[int],
    renders: Mapping[int, Sequence[Rendered]],
    images: ShownImages | None = None,
    spotlights: Spotlights | None = None,
    *,
    tiles: int = TILES,
) -> list[Cell]:
    """Collect the cells of a page.

    Args:
        index: open index.
        layer: whose receptive field determines the patches.
        units: of the layer, in the order of the cells.
        renders: renderings by unit.
        images: reads the images; one for all pages of a call.
        spotlights: outline in each patch what drives the unit, and dim the rest.
        tiles: number of patches of a unit, of different photographs.

    Raises:
        SourceError: if the dataset cannot be found, and the index has no thumbnails.
        StoreError: if an image or a rendering cannot be read.
    """
    statistics = {row["unit"]: row for row in _rows(index, _STATISTICS, layer, units)}
    names = _unit_names(index, layer, units)
    histograms: dict[int, list[Bucket]] = defaultdict(list)
    for row in _rows(index, _HISTOGRAMS, layer, units):
        histograms[row["unit"]].append((row["lower"], row["upper"], row["images"]))
    chosen = {
        unit: choose_images(found, tiles)
        for unit, found in index.tops(layer.name, units, n=ALL_RANKS).items()
    }
    patches = _cut_patches(images or ShownImages(index, Silent()), layer, chosen, spotlights)
    classes = index.class_names(layer.name)
    cells = []
    for unit in units:
        top = chosen[unit]
        drawn = _shown_renders(renders.get(unit, ()))
        facets = _facets_by_image(drawn)
        known = statistics.get(unit)
        shown = tuple(
            Tile(
                patches[unit, i.image_id],
                readable_label(i.label or i.key),
                i.activation,
                facets.get(i.image_id, ""),
            )
            for i in top
        )
        title, subtitle = _cell_titles(unit, top, known, classes, names.get(unit, ""))
        cells.append(
            Cell(
                title=title,
                subtitle=subtitle,
                note=_format_activity(known),
                tiles=shown,
                best=known["max"] if known else max((t.activation for t in shown), default=0.0),
                synthetic=_open_synthetic(index.out, drawn),
                histogram=tuple(histograms[unit]),
            )
        )
    return cells


def _rows(index: Index, text: str, layer: Layer, units: Sequence[int]) -> list[dict[str, Any]]:
    return index.sql(text, layer=layer.name, units=list(units)).dicts()


def _cut_patches(
    shown: ShownImages,
    layer: Layer,
    chosen: Mapping[int, Sequence[TopImage]],
    spotlights: Spotlights | None,
) -> dict[tuple[int, int], Image.Image]:
    """Map (unit, image_id) to the patch; each original image is read and decoded once."""
    wanted: dict[int, list[TopImage]] = defaultdict(list)
    for images in chosen.values():
        for image in images:
            wanted[image.image_id].append(image)
    patches: dict[tuple[int, int], Image.Image] = {}
    for image_id, (photograph, preprocess) in shown.read(wanted, open_shown):
        maps = spotlights.maps(image_id, [image.unit for image in wanted[image_id]]) if spotlights else {}
        for image in wanted[image_id]:
            window = seen_window(layer, image.y, image.x, preprocess)
            lit = photograph
            if image.unit in maps:
                lit = spotlight(_no_larger(photograph), maps[image.unit], preprocess)
            patch = crop_patch(lit, window, preprocess, TILE)
            patches[image.unit, image_id] = patch
    return patches


def _no_larger(photograph: Image.Image) -> Image.Image:
    """The photograph in a size in which a contour is as wide on every patch."""
    scale = 2 * TILE / min(photograph.size)
    size = max(1, round(photograph.width * scale)), max(1, round(photograph.height * scale))
    return photograph.resize(size, Image.Resampling.LANCZOS)


def _cell_titles(
    unit: int,
    images: Sequence[TopImage],
    statistics: Mapping[str, Any] | None,
    classes: Sequence[str] | None,
    names: str,
) -> tuple[str, str]:
    """Return title and subtitle of a cell: beside the number its names, or the label of its patches."""
    dead = ""
    if statistics is not None and statistics["min"] == statistics["max"]:
        dead = f"dead: constant {statistics['max']:.4g} on all images"
    if classes is not None:
        return readable_label(classes[unit]), f"unit {unit}{', ' if dead else ''}{dead}"
    if dead:
        return f"unit {unit}", dead
    if statistics is not None and statistics["active_fraction"] == 0:
        return f"unit {unit}", "never active"
    if names:
        return f"unit {unit}", names
    labels = Counter(readable_label(image.label) for image in images if image.label)
    label, count = labels.most_common(1)[0] if labels else ("", 0)
    return f"unit {unit}", f"{label} {count}/{len(images)}" if count >= MIN_COMMON_LABEL else ""


def _unit_names(index: Index, layer: Layer, units: Sequence[int]) -> dict[int, str]:
    """Names of units as one line: sums of labels or of concepts, then the best by masks and in words."""
    found: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows(index, _NAMES, layer, units):
        single = row["source"] if row["source"] in ("masks", "words") else ""
        group = single or ("concepts" if row["source"] == "concepts" else "labels")
        names = found[row["unit"]][group]
        if not (single and names):
            names.append(readable_label(row["concept"]))
    shown = {}  # a name that two sources give is shown once
    for unit, groups in found.items():
        joined = [" + ".join(names) for names in groups.values()]
        known = {name for group in ("labels", "concepts") for name in groups.get(group, ())}
        shown[unit] = ", ".join(
            each for each in dict.fromkeys(joined) if each not in known or each == joined[0]
        )
    return shown


def _format_activity(statistics: Mapping[str, Any] | None) -> str:
    """Format the active fraction; empty for units that are never or almost always active."""
    if statistics is None or not 0 < statistics["active_fraction"] < ALWAYS_ACTIVE:
        return ""
    return f"active in {_format_percent(statistics['active_fraction'])}"


def _format_percent(share: float) -> str:
    if 0 < share < 0.001:
        return "under 0.1 %"
    return f"{share:.0%}".replace("%", " %") if share >= 0.1 else f"{share * 100:.2g} %"


def _shown_renders(renders: Sequence[Rendered]) -> list[Rendered]:
    """The renderings of a unit that are shown, those with a successful status first."""
    return sorted(renders, key=lambda row: (row.status not in GOOD, row.facet, row.seed))[:MAX_FACETS]


def _facets_by_image(shown: Sequence[Rendered]) -> dict[int, str]:
    """The letters of the renderings that were made from each image, if there are several renderings.

    Renderings that were made from the same images, such as those of two seeds, need no letters.
    """
    if len({row.images for row in shown}) < 2:
        return {}
    found: dict[int, str] = {}
    for letter, row in zip(FACET_LETTERS, shown, strict=False):
        for image in row.images:
            found[image] = found.get(image, "") + letter
    return found


def _open_synthetic(out: Path, shown: Sequence[Rendered]) -> Synthetic | None:
    """Open the renderings of a unit."""
    if not shown:
        return None
    pictures = tuple(open_rendering(out, row) for row in shown)
    best = max(shown, key=lambda row: (row.status in GOOD, row.activation))
    # No failure: `typical` limits the activation on purpose, and such a picture may well show the unit.
    mark = "weak" if best.status == "weak" else GOOD.get(best.status, f"failed: {best.status}")
    if is_unusual(best.path):
        mark = f"{mark}, {UNUSUAL_PATH}" if mark else UNUSUAL_PATH
    return Synthetic(pictures, best.activation, mark)


def open_rendering(out: Path, row: Rendered) -> Image.Image:
    """Open a rendering, crop it to the target's receptive field and pad it to a square."""
    try:
        with Image.open(io.BytesIO(row.read(out)), formats=["PNG"]) as file:
            picture = file.convert("RGB")
    except OSError as error:
        raise StoreError(
            f"rendering {out / row.file} cannot be read: {error}; run the same `maxact render` again"
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
