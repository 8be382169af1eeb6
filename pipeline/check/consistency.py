"""Consistency of the tables of an index: what must hold for any network, checked in all rows by SQL."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.query.index import Index

__all__ = ["Discrepancy", "find_inconsistencies"]


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One inconsistency found in an index.

    Args:
        layer: of the unit that it is about; empty when it is about an image only.
        unit: likewise; -1 when it is about an image only.
        image_id: of the image that it is about; -1 when it is about a unit only.
        what: the inconsistency, in words.
    """

    layer: str
    unit: int
    image_id: int
    what: str

    def __str__(self) -> str:
        about = [f"{self.layer} unit {self.unit}"] if self.layer else []
        about += [f"image {self.image_id}"] if self.image_id >= 0 else []
        return f"{' '.join(about) or 'index'}: {self.what}"


_LENGTHS = """
    WITH counted AS (
        SELECT u.layer, u.unit, u.min, u.images, round(u.active_fraction * u.images)::BIGINT AS active,
            CASE WHEN u.min = u.max THEN 0 ELSE u.images - 1 END AS most,
            coalesce(sum(h.images) FILTER (h.lower > u.min AND h.lower > -1048576), 0) AS above,
            coalesce(sum(h.images) FILTER (h.upper < u.max AND h.upper < 1048576), 0) AS below
        FROM units AS u LEFT JOIN histograms AS h ON h.layer = u.layer AND h.unit = u.unit
        GROUP BY ALL
    ), expected AS (
        SELECT layer, unit, 'high' AS side, CASE WHEN min = 0 THEN active ELSE above END AS fewest,
            CASE WHEN min = 0 THEN active ELSE most END AS most
        FROM counted
        UNION ALL
        SELECT layer, unit, 'low', CASE WHEN min = 0 AND images - active > $top THEN 0 ELSE below END,
            CASE WHEN min = 0 AND images - active > $top THEN 0 ELSE most END
        FROM counted
    ), listed AS (
        SELECT e.layer, e.unit, e.side, count(t.rank) AS found,
            least($top, e.fewest) AS fewest, least($top, e.most) AS most
        FROM expected AS e
        LEFT JOIN top AS t ON t.layer = e.layer AND t.unit = e.unit AND t.side = e.side
        GROUP BY ALL
    )
    SELECT layer, unit, -1, format('the {} list has {} images, expected {}', side, found,
        CASE WHEN found < fewest THEN fewest ELSE most END)
    FROM listed WHERE found NOT BETWEEN fewest AND most
"""
"""Lists contain the peaks above the minimum, and below the maximum (see `UnitState.informative`). At a
minimum of 0 their number is known; otherwise it is at least that of the images in buckets beyond that
of the extreme. The last bucket at either end (2**20) also contains everything beyond it."""

_ORDER = """
    SELECT layer, unit, image_id, format('is on rank {} of the {} list, expected {}', rank,
        side, place)
    FROM (
        SELECT *, row_number() OVER (
            PARTITION BY layer, unit, side
            ORDER BY CASE side WHEN 'high' THEN -activation ELSE activation END, image_id
        ) AS place
        FROM top
    )
    WHERE rank <> place
"""

_EXTREMES = """
    SELECT t.layer, t.unit, t.image_id, format('is first on the {} list with {:g}, but the {} is {:g}',
        t.side, t.activation, CASE t.side WHEN 'high' THEN 'maximum' ELSE 'minimum' END,
        CASE t.side WHEN 'high' THEN u.max ELSE u.min END)
    FROM top AS t JOIN units AS u ON u.layer = t.layer AND u.unit = t.unit
    WHERE t.rank = 1 AND t.activation <> CASE t.side WHEN 'high' THEN u.max ELSE u.min END
"""

_GRID = """
    SELECT t.layer, t.unit, t.image_id, format('position ({}, {}) is outside the grid of {} x {}',
        t.y, t.x, greatest(l.grid_h, 1), greatest(l.grid_w, 1))
    FROM top AS t JOIN layers AS l ON l.layer = t.layer
    WHERE t.y NOT BETWEEN 0 AND greatest(l.grid_h, 1) - 1
        OR t.x NOT BETWEEN 0 AND greatest(l.grid_w, 1) - 1
"""

_UNKNOWN = """
    SELECT layer, unit, image_id, 'is on a list, but is not in the images table'
    FROM top WHERE image_id NOT IN (SELECT image_id FROM images)
"""

_COUNTS = """
    SELECT u.layer, u.unit, -1, format('has statistics over {} images, the index has {}', u.images, i.images)
    FROM units AS u CROSS JOIN (SELECT count(*) AS images FROM images) AS i
    WHERE u.images <> i.images
"""


def find_inconsistencies(index: Index, *, top: int) -> tuple[Discrepancy, ...]:
    """Compare the tables of an index with each other.

    Args:
        index: open.
        top: images kept per unit and side.
    """
    found = []
    for query in (_LENGTHS, _ORDER, _EXTREMES, _GRID, _UNKNOWN, _COUNTS):
        parameters = {"top": top} if "$top" in query else {}
        result = index.sql(f"SELECT * FROM ({query}) ORDER BY ALL", **parameters)
        found += [Discrepancy(str(row[0]), int(row[1]), int(row[2]), str(row[3])) for row in result.rows]
    return tuple(found)
