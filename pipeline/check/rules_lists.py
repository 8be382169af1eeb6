"""Rules for the lists of images: `top` and `strata`. See `pipeline.check.rules_units` for their form."""

from __future__ import annotations

__all__ = ["LIST_RULES"]

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
        coalesce(side, 'NULL'), place)
    FROM (
        SELECT *, row_number() OVER (
            PARTITION BY layer, unit, side
            ORDER BY CASE side WHEN 'high' THEN -activation ELSE activation END, image_id
        ) AS place
        FROM top
    )
    WHERE (rank = place AND side IN ('high', 'low')) IS NOT TRUE
"""

_EXTREMES = """
    SELECT t.layer, t.unit, t.image_id, format('is first on the {} list with {:g}, but the {} is {:g}',
        t.side, t.activation, CASE t.side WHEN 'high' THEN 'maximum' ELSE 'minimum' END,
        CASE t.side WHEN 'high' THEN u.max ELSE u.min END)
    FROM top AS t JOIN units AS u ON u.layer = t.layer AND u.unit = t.unit
    WHERE t.rank = 1 AND (t.activation = CASE t.side WHEN 'high' THEN u.max ELSE u.min END) IS NOT TRUE
"""

_INSIDE = """
    SELECT t.layer, t.unit, t.image_id, format('{} activation {}, but the unit has {} to {}',
        t.source, t.activation, u.min, u.max)
    FROM (
        SELECT layer, unit, image_id, activation, side AS source FROM top
        UNION ALL SELECT layer, unit, image_id, activation, 'strata' FROM strata
    ) AS t JOIN units AS u ON u.layer = t.layer AND u.unit = t.unit
    WHERE (isfinite(t.activation) AND t.activation BETWEEN u.min AND u.max AND u.min < u.max
        AND NOT (t.source = 'high' AND t.activation = u.min)
        AND NOT (t.source = 'low' AND t.activation = u.max)) IS NOT TRUE
"""
"""Dead units, of one activation, have neither lists nor strata."""

_REPEATED = """
    SELECT layer, unit, image_id, format('is {} times in {}', count(*),
        CASE source WHEN 'strata' THEN source ELSE format('the {} list', source) END)
    FROM (
        SELECT layer, unit, image_id, side AS source FROM top
        UNION ALL SELECT layer, unit, image_id, 'strata' FROM strata
    )
    GROUP BY layer, unit, image_id, source HAVING count(*) > 1
"""

_GRID = """
    SELECT t.layer, t.unit, t.image_id, format('position ({}, {}) is outside the grid of {} x {}',
        t.y, t.x, greatest(l.grid_h, 1), greatest(l.grid_w, 1))
    FROM (
        SELECT layer, unit, image_id, y, x FROM top UNION ALL SELECT layer, unit, image_id, y, x FROM strata
    ) AS t JOIN layers AS l ON l.layer = t.layer
    WHERE (t.y BETWEEN 0 AND greatest(l.grid_h, 1) - 1
        AND t.x BETWEEN 0 AND greatest(l.grid_w, 1) - 1) IS NOT TRUE
"""

_UNKNOWN = """
    SELECT layer, unit, image_id, format('is {}, but is not in the images table', source) FROM (
        SELECT layer, unit, image_id, 'on a list' AS source FROM top
        UNION ALL SELECT layer, unit, image_id, 'in strata' FROM strata
    )
    WHERE image_id IS NULL OR image_id NOT IN (SELECT image_id FROM images WHERE image_id IS NOT NULL)
"""

_AGREEMENT = """
    SELECT layer, unit, image_id, format('has activations {} to {} at rows {} to {} and columns {} to {} in '
        'its lists and strata', min(activation), max(activation), min(y), max(y), min(x), max(x))
    FROM (
        SELECT layer, unit, image_id, activation, y, x FROM top
        UNION ALL SELECT layer, unit, image_id, activation, y, x FROM strata
    )
    GROUP BY layer, unit, image_id
    HAVING (min(activation) = max(activation) AND min(y) = max(y) AND min(x) = max(x)) IS NOT TRUE
"""
"""One image has one peak, wherever it is listed."""

_LISTED_BUCKETS = """
    WITH edges AS (SELECT unnest($lower)::FLOAT AS lower), listed AS (
        SELECT t.layer, t.unit, t.side, e.lower, count(*) AS found
        FROM top AS t ASOF JOIN edges AS e ON t.activation >= e.lower
        WHERE t.activation >= 0 GROUP BY ALL
        UNION ALL
        SELECT t.layer, t.unit, t.side, e.lower, count(*)
        FROM top AS t ASOF JOIN edges AS e ON greatest(t.activation, -1048575::FLOAT) > e.lower
        WHERE t.activation < 0 GROUP BY ALL
    ), summed AS (
        SELECT layer, unit, side, lower, sum(found) AS found FROM listed GROUP BY ALL
    ), ends AS (
        SELECT layer, unit, side, min(activation) AS low, max(activation) AS high
        FROM top GROUP BY ALL
    ), compared AS (
        SELECT e.layer, e.unit, e.side, h.lower, h.upper, h.images, coalesce(s.found, 0) AS found,
            CASE e.side WHEN 'high' THEN h.lower > e.low AND h.lower > -1048576
                ELSE h.upper < e.high AND h.upper < 1048576 END AS whole
        FROM ends AS e JOIN histograms AS h ON h.layer = e.layer AND h.unit = e.unit
        LEFT JOIN summed AS s
            ON s.layer = e.layer AND s.unit = e.unit AND s.side = e.side AND s.lower = h.lower
    )
    SELECT layer, unit, -1, format('the {} list has {} of the {} images that the histogram has from {} to {}',
        side, found, images, lower, upper)
    FROM compared WHERE (CASE WHEN whole THEN found = images ELSE found <= images END) IS NOT TRUE
    UNION ALL
    SELECT s.layer, s.unit, -1, format('the {} list has {} images in the bucket from {}, the histogram none',
        s.side, s.found, s.lower)
    FROM summed AS s ANTI JOIN histograms AS h
        ON h.layer = s.layer AND h.unit = s.unit AND h.lower = s.lower
"""
"""A list has every image of the buckets beyond its last entry, and no more of any bucket than there are.
Buckets contain their edge nearer to 0, so the negative ones their upper; the first one also contains
what is below it."""

_TENTHS = range(1, 10)

_STRATA = f"""
    WITH cumulative AS (
        SELECT layer, unit, ((lower::DOUBLE + upper::DOUBLE) / 2)::FLOAT AS middle,
            sum(images) OVER (PARTITION BY layer, unit ORDER BY lower) AS rank,
            sum(images) OVER (PARTITION BY layer, unit) AS total
        FROM histograms
    ), edges AS (
        SELECT layer, unit, {
    ", ".join(
        f"min(middle) FILTER (rank >= greatest(ceil({tenth}::DOUBLE / 10 * total), 1)) AS edge_{tenth}"
        for tenth in _TENTHS
    )
}
        FROM cumulative GROUP BY layer, unit
    )
    SELECT layer, unit, image_id, format('is in stratum {{}}, but {{}} edges are below its activation {{}}',
        stratum, expected, activation)
    FROM (
        SELECT s.*, {
    " + ".join(
        f"(greatest(u.min, least(u.max, e.edge_{tenth})) < s.activation)::INTEGER" for tenth in _TENTHS
    )
} AS expected
        FROM strata AS s
        JOIN edges AS e ON e.layer = s.layer AND e.unit = s.unit
        JOIN units AS u ON u.layer = s.layer AND u.unit = s.unit
    )
    WHERE (stratum = expected) IS NOT TRUE
"""
"""As `pipeline.state.sample.strata_rows`, with `pipeline.state.statistics.quantiles` as edges."""

_STRATA_SIZES = """
    SELECT layer, unit, -1, format('stratum {} lists {} images, expected at most {}', stratum, count(*),
        $per_stratum)
    FROM strata GROUP BY layer, unit, stratum HAVING count(*) > $per_stratum
    UNION ALL
    SELECT layer, unit, -1, format('the strata list {} of the {} sampled images, but none is full', found,
        len($sample))
    FROM (
        SELECT u.layer, u.unit, coalesce(sum(s.found), 0) AS found, coalesce(max(s.found), 0) AS largest
        FROM units AS u LEFT JOIN (
            SELECT layer, unit, stratum, count(*) AS found FROM strata GROUP BY ALL
        ) AS s ON s.layer = u.layer AND s.unit = u.unit
        WHERE u.min < u.max GROUP BY u.layer, u.unit
    ) WHERE found < len($sample) AND largest < $per_stratum
"""
"""A sampled image is left out only where its stratum lists as many as it may."""

_STRATA_SAMPLE = """
    SELECT layer, unit, image_id, 'is in strata, but not in the sample that strata are drawn from'
    FROM strata WHERE image_id NOT IN (SELECT unnest($sample))
"""

LIST_RULES = (
    _LENGTHS,
    _ORDER,
    _EXTREMES,
    _INSIDE,
    _REPEATED,
    _GRID,
    _UNKNOWN,
    _AGREEMENT,
    _LISTED_BUCKETS,
    _STRATA,
    _STRATA_SIZES,
    _STRATA_SAMPLE,
)
"""All rules of this module; they use the parameters `$top`, `$lower`, `$sample` and
`$per_stratum`."""
