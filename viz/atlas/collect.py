"""Read what an atlas shows from the tables of an index, layer by layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.layers.layer import Layer
from pipeline.query.index import Index
from pipeline.query.results import TopImage
from viz.atlas.content import LabelMean, LayerContent, Patch, Photograph, UnitContent, UnitName
from viz.atlas.correlated import correlated_units
from viz.atlas.similar import similar_units
from viz.inputs.top_images import choose_images
from viz.render.field import rendered_field
from viz.render.table import Rendered
from viz.sheets.cells import GOOD

__all__ = ["LABELS", "collect_high", "collect_layer", "collect_outline", "collect_photographs"]

ALL_RANKS = 1 << 30
"""More ranks than any index has: all listed images are considered, as copies are skipped."""

LOWEST = 4
"""Images of the lowest peaks that are shown."""

LABELS = 8
"""Labels that are shown of a unit."""

NEIGHBOURS = 8
"""Similar units that are shown of a unit."""

MIN_SHARED = 3
"""Images that two units must have in both lists to be called similar."""

BEST_RECIPE = "typical"
"""The recipe whose pictures explain most, see bench/README.md."""

STATISTICS = "SELECT * FROM units WHERE layer = $layer AND unit IN (SELECT unnest($units)) ORDER BY unit"

STRATA = """
SELECT unit, stratum, arg_min(activation, image_id) AS activation, min(image_id) AS image_id,
    arg_min(y, image_id) AS y, arg_min(x, image_id) AS x
FROM strata WHERE layer = $layer AND unit IN (SELECT unnest($units))
GROUP BY unit, stratum ORDER BY unit, stratum
"""

CLASSES = """
SELECT unit, label, images, mean_peak FROM (
    SELECT *, row_number() OVER (PARTITION BY unit ORDER BY mean_peak DESC, label) AS place
    FROM classes WHERE layer = $layer AND unit IN (SELECT unnest($units))
) WHERE place <= $count ORDER BY unit, place
"""

HISTOGRAMS = """
SELECT unit, lower, upper, images FROM histograms
WHERE layer = $layer AND unit IN (SELECT unnest($units)) ORDER BY unit, lower
"""

NAMES = """
SELECT unit, concept, source, correlation, held_out, images FROM names
WHERE layer = $layer AND unit IN (SELECT unnest($units)) ORDER BY unit, rank
"""

HAS_NAMES = """
SELECT count(*) FROM information_schema.columns WHERE table_schema = 'main' AND table_name = 'names'
    AND column_name IN ('unit', 'rank', 'concept', 'source', 'correlation', 'held_out', 'images')
"""

SIMILAR = """
WITH listed AS (
    SELECT unit, image_id, count(*) OVER (PARTITION BY unit) AS length FROM top
    WHERE layer = $layer AND side = 'high'
), paired AS (
    SELECT a.unit, b.unit AS other, count(*) AS shared,
        count(*) / (any_value(a.length) + any_value(b.length) - count(*)) AS jaccard
    FROM listed AS a JOIN listed AS b ON a.image_id = b.image_id AND a.unit <> b.unit
    WHERE a.unit IN (SELECT unnest($units)) AND b.unit IN (SELECT unnest($units))
    GROUP BY a.unit, b.unit HAVING count(*) >= $shared
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY unit ORDER BY jaccard DESC, shared DESC, other) AS place
    FROM paired
)
SELECT unit, other, shared, jaccard FROM ranked WHERE place <= $count ORDER BY unit, place
"""

PHOTOGRAPHS = """
SELECT image_id, key, label, width, height FROM images
WHERE image_id IN (SELECT unnest($ids)) ORDER BY image_id
"""


def collect_outline(
    index: Index, layer: Layer, units: Sequence[int], renders: Mapping[int, Sequence[Rendered]]
) -> LayerContent:
    """Read what the page of a layer shows: statistics, labels, names and renderings, without images.

    Args:
        index: open.
        layer: of the index.
        units: of the layer, ascending.
        renders: the layer's renderings by unit.
    """
    statistics = _by_unit(index, STATISTICS, layer, units)
    labels = _by_unit(index, CLASSES, layer, units, count=LABELS)
    named = _by_unit(index, NAMES, layer, units) if _has_names(index) else {}
    classes = index.class_names(layer.name)
    return LayerContent(
        layer,
        rendered_field(layer, (row for unit in units for row in renders.get(unit, ()))),
        tuple(
            UnitContent(
                layer=layer.name,
                unit=unit,
                title=classes[unit] if classes else "",
                statistics=statistics[unit][0],
                labels=tuple(
                    LabelMean(row["label"], row["images"], row["mean_peak"]) for row in labels[unit]
                ),
                renderings=tuple(sorted(renders.get(unit, ()), key=_order)),
                names=tuple(
                    UnitName(
                        row["concept"], row["source"], row["correlation"], row["held_out"], row["images"]
                    )
                    for row in named.get(unit, ())
                ),
            )
            for unit in units
        ),
    )


def collect_layer(
    index: Index,
    layer: Layer,
    units: Sequence[int],
    renders: Mapping[int, Sequence[Rendered]],
    *,
    top: int,
    among: Sequence[int] | None = None,
    correlate: bool = True,
) -> LayerContent:
    """Read the content of a layer.

    Args:
        index: open.
        layer: of the index.
        units: of the layer, ascending.
        renders: the layer's renderings by unit.
        top: images of the highest peaks to show.
        among: the units among which similar ones are sought; those for None.
        correlate: also find the units with the highest correlation, where peaks are kept.
    """
    outline = collect_outline(index, layer, units, renders)
    strata = _by_unit(index, STRATA, layer, units)
    histograms = _by_unit(index, HISTOGRAMS, layer, units)
    similar = similar_units(index, layer.name, units, count=NEIGHBOURS, least=MIN_SHARED, among=among)
    correlated = (
        correlated_units(index, layer.name, units, count=NEIGHBOURS, among=among) if correlate else {}
    )
    high = collect_high(index, layer, units, top)
    low = index.tops(layer.name, units, n=ALL_RANKS, side="low")
    return replace(
        outline,
        units=tuple(
            replace(
                unit,
                high=high[unit.unit],
                low=_patches(choose_images(low[unit.unit], LOWEST)),
                strata=tuple(
                    Patch(row["image_id"], row["activation"], row["y"], row["x"], row["stratum"])
                    for row in strata[unit.unit]
                ),
                histogram=tuple((row["lower"], row["upper"], row["images"]) for row in histograms[unit.unit]),
                neighbours=tuple(similar.get(unit.unit, ())),
                correlated=correlated.get(unit.unit, ()),
            )
            for unit in outline.units
        ),
    )


def collect_high(index: Index, layer: Layer, units: Sequence[int], top: int) -> dict[int, tuple[Patch, ...]]:
    """Read the top images of units that are different photographs, highest first."""
    high = index.tops(layer.name, units, n=ALL_RANKS)
    return {unit: _patches(choose_images(high[unit], top)) for unit in units}


def _order(row: Rendered) -> tuple[object, ...]:
    """Successful renderings first, and among them those of the recipe that explains most."""
    return (row.status not in GOOD, row.recipe != BEST_RECIPE, *row.key)


def _has_names(index: Index) -> bool:
    """Whether the index can have names of units: those of earlier versions have no such view."""
    return int(index.sql(HAS_NAMES).rows[0][0]) == 7


def _by_unit(
    index: Index, text: str, layer: Layer, units: Sequence[int], **more: int
) -> dict[int, list[dict[str, Any]]]:
    rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in index.sql(text, layer=layer.name, units=list(units), **more).dicts():
        rows[row["unit"]].append(row)
    return rows


def _patches(images: Iterable[TopImage]) -> tuple[Patch, ...]:
    return tuple(Patch(i.image_id, i.activation, i.y, i.x, i.rank) for i in images)


def collect_photographs(index: Index, image_ids: Iterable[int]) -> dict[int, Photograph]:
    """Read the rows of images, by image_id."""
    rows = index.sql(PHOTOGRAPHS, ids=sorted(set(image_ids))).dicts()
    return {row["image_id"]: Photograph(**row) for row in rows}
