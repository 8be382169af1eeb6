"""Rules for the statistics of units: `units`, `histograms` and `classes` must tell of the same peaks.

Each rule is a SELECT of (layer, unit, image_id, what): its rows are what breaks the rule. Conditions
are written as what must hold, and `IS NOT TRUE` makes NULL and NaN break them.

Of a histogram only the edges of a bucket are known, so sums over it are bounds. The buckets at both
ends also hold everything beyond 2**20; the exact minimum and maximum bound them.
"""

from __future__ import annotations

__all__ = ["UNIT_RULES"]

_BOUNDED = """
    SELECT h.layer, h.unit, h.images,
        CASE WHEN h.lower <= -1048576 THEN u.min ELSE greatest(h.lower, u.min) END::DOUBLE AS low,
        CASE WHEN h.upper >= 1048576 THEN u.max ELSE least(h.upper, u.max) END::DOUBLE AS high,
        u.mean, u.min, u.max
    FROM histograms AS h JOIN units AS u ON u.layer = h.layer AND u.unit = h.unit
"""
"""The buckets of each unit, cut to its minimum and maximum."""

_SPAN = "greatest(abs(min), abs(max), 1e-30)::DOUBLE"
"""The largest magnitude of a unit's peaks: rounding errors are relative to it."""

_PLACES = """
    SELECT u.layer, u.unit, -1, 'is not a unit of the layer, or has several rows in units'
    FROM units AS u LEFT JOIN layers AS l ON l.layer = u.layer
    GROUP BY u.layer, u.unit
    HAVING (count(*) = 1 AND min(u.unit) >= 0 AND max(u.unit) < max(l.units)) IS NOT TRUE
    UNION ALL
    SELECT layer, unit, -1, 'has no row in units' FROM (
        SELECT layer, unnest(range(units))::INTEGER AS unit FROM layers
        EXCEPT SELECT layer, unit FROM units
    )
"""

_ORPHANS = """
    SELECT layer, unit, -1, format('has rows in {}, but none in units', source) FROM (
        SELECT DISTINCT layer, unit, 'top' AS source FROM top
        UNION ALL SELECT DISTINCT layer, unit, 'strata' FROM strata
        UNION ALL SELECT DISTINCT layer, unit, 'classes' FROM classes
        UNION ALL SELECT DISTINCT layer, unit, 'histograms' FROM histograms
    ) AS named ANTI JOIN units USING (layer, unit)
"""

_COUNTS = """
    SELECT u.layer, u.unit, -1, format('has statistics over {} images, the index has {}', u.images, i.images)
    FROM units AS u CROSS JOIN (SELECT count(*) AS images FROM images) AS i
    WHERE (u.images = i.images) IS NOT TRUE
"""

_RANGES = f"""
    SELECT layer, unit, -1, format('{{}} is not possible: minimum {{}}, maximum {{}}, mean {{}}, std {{}}',
        CASE WHEN NOT finite THEN 'NaN, infinity or a missing number' ELSE wrong END, min, max, mean, std)
    FROM (
        SELECT *, CASE
            WHEN (min <= max) IS NOT TRUE THEN 'the range'
            WHEN (mean BETWEEN min - slack AND max + slack) IS NOT TRUE THEN 'the mean'
            WHEN (std >= 0 AND std * std <= (mean - min) * (max - mean) + slack * slack * 1e6) IS NOT TRUE
                THEN 'the standard deviation'
            WHEN (active_fraction BETWEEN 0 AND 1
                AND abs(active_fraction * images - round(active_fraction * images)) < 1e-3
                AND (active_fraction = 0) = (max <= 0) AND (active_fraction = 1) = (min > 0)) IS NOT TRUE
                THEN format('the active fraction {{}}', active_fraction)
            WHEN (min <= p50 AND p50 <= p90 AND p90 <= p99 AND p99 <= p999 AND p999 <= max) IS NOT TRUE
                THEN format('the order of the quantiles {{}}, {{}}, {{}}, {{}}', p50, p90, p99, p999)
            END AS wrong
        FROM (
            SELECT *, {_SPAN} * 1e-9 AS slack,
                (isfinite(mean) AND isfinite(std) AND isfinite(min) AND isfinite(max)
                    AND isfinite(active_fraction) AND isfinite(p50) AND isfinite(p90) AND isfinite(p99)
                    AND isfinite(p999)) IS TRUE AS finite
            FROM units WHERE (images = 0) IS NOT TRUE
        )
    )
    WHERE NOT finite OR wrong IS NOT NULL
"""
"""The variance is at most (mean - min)(max - mean) (Bhatia and Davis 2000)."""

_BUCKETS = """
    SELECT layer, unit, -1, format('the histogram has the bucket from {} {} times', lower, count(*))
    FROM histograms GROUP BY layer, unit, lower HAVING count(*) > 1
    UNION ALL
    SELECT layer, unit, -1, format('the histogram has {} images from {} to {}, which is no bucket or empty',
        images, lower, upper)
    FROM histograms LEFT JOIN (
        SELECT unnest($lower)::FLOAT AS lower, unnest($upper)::FLOAT AS upper, true AS known
    ) USING (lower, upper)
    WHERE (known AND images > 0) IS NOT TRUE
"""

_HISTOGRAM_SUMS = """
    SELECT u.layer, u.unit, -1,
        format('the histogram counts {} images, expected {}', coalesce(sum(h.images), 0), u.images)
    FROM units AS u LEFT JOIN histograms AS h ON h.layer = u.layer AND h.unit = u.unit
    GROUP BY u.layer, u.unit, u.images
    HAVING (coalesce(sum(h.images), 0) = u.images) IS NOT TRUE
"""

_HISTOGRAM_ENDS = """
    SELECT layer, unit, -1, format('the histogram spans {} to {}, but minimum and maximum are {} and {}',
        first_lower, last_upper, min, max)
    FROM (
        SELECT u.layer, u.unit, u.min, u.max,
            min(h.lower) AS first_lower, min(h.upper) AS first_upper,
            max(h.lower) AS last_lower, max(h.upper) AS last_upper
        FROM units AS u JOIN histograms AS h ON h.layer = u.layer AND h.unit = u.unit
        GROUP BY ALL
    )
    WHERE ((min >= first_lower OR first_lower <= -1048576) AND (min <= first_upper OR first_upper >= 1048576)
        AND (max >= last_lower OR last_lower <= -1048576) AND (max <= last_upper OR last_upper >= 1048576)
        ) IS NOT TRUE
"""

_HISTOGRAM_MOMENTS = f"""
    SELECT layer, unit, -1, format('mean {{}} and std {{}} do not agree with the histogram, which allows '
        'means of {{}} to {{}} and, with this mean, stds of {{}} to {{}}',
        mean, std, mean_low, mean_high, sqrt(var_low), sqrt(var_high))
    FROM (
        SELECT b.layer, b.unit, u.mean, u.std, greatest(abs(u.min), abs(u.max))::DOUBLE AS span,
            sum(b.images * low) / sum(b.images) AS mean_low,
            sum(b.images * high) / sum(b.images) AS mean_high,
            sum(b.images * CASE WHEN u.mean BETWEEN low AND high THEN 0
                ELSE least((low - u.mean) ** 2, (high - u.mean) ** 2) END) / sum(b.images) AS var_low,
            sum(b.images * greatest((low - u.mean) ** 2, (high - u.mean) ** 2)) / sum(b.images) AS var_high
        FROM ({_BOUNDED}) AS b JOIN units AS u ON u.layer = b.layer AND u.unit = b.unit
        GROUP BY ALL
    )
    WHERE (mean BETWEEN mean_low - span * 1e-6 AND mean_high + span * 1e-6
        AND std * std BETWEEN var_low - (span * 1e-6) ** 2 - var_low * 1e-6
            AND var_high * (1 + 1e-6) + (span * 1e-6) ** 2) IS NOT TRUE
"""

_ACTIVE = """
    SELECT layer, unit, -1, format('{} images are active by the active fraction, {} to {} by the histogram',
        active, above, above + zero)
    FROM (
        SELECT u.layer, u.unit, round(u.active_fraction * u.images)::BIGINT AS active,
            coalesce(sum(h.images) FILTER (h.lower > 0), 0) AS above,
            coalesce(sum(h.images) FILTER (h.lower < 0 AND h.upper > 0), 0) AS zero
        FROM units AS u LEFT JOIN histograms AS h ON h.layer = u.layer AND h.unit = u.unit
        GROUP BY ALL
    )
    WHERE (active BETWEEN above AND above + zero) IS NOT TRUE
"""

_QUANTILES = """
    WITH cumulative AS (
        SELECT layer, unit, ((lower::DOUBLE + upper::DOUBLE) / 2)::FLOAT AS middle,
            sum(images) OVER (PARTITION BY layer, unit ORDER BY lower) AS rank,
            sum(images) OVER (PARTITION BY layer, unit) AS total
        FROM histograms
    ), estimated AS (
        SELECT layer, unit,
            min(middle) FILTER (rank >= greatest(ceil(0.5::DOUBLE * total), 1)) AS p50,
            min(middle) FILTER (rank >= greatest(ceil(0.9::DOUBLE * total), 1)) AS p90,
            min(middle) FILTER (rank >= greatest(ceil(0.99::DOUBLE * total), 1)) AS p99,
            min(middle) FILTER (rank >= greatest(ceil(0.999::DOUBLE * total), 1)) AS p999
        FROM cumulative GROUP BY layer, unit
    )
    SELECT u.layer, u.unit, -1, format('the quantiles are {}, {}, {} and {}, but by the histogram {}, {}, {} '
        'and {}, cut to the range', u.p50, u.p90, u.p99, u.p999, e.p50, e.p90, e.p99, e.p999)
    FROM units AS u JOIN estimated AS e ON e.layer = u.layer AND e.unit = u.unit
    WHERE (u.p50 = greatest(u.min, least(u.max, e.p50)) AND u.p90 = greatest(u.min, least(u.max, e.p90))
        AND u.p99 = greatest(u.min, least(u.max, e.p99))
        AND u.p999 = greatest(u.min, least(u.max, e.p999))) IS NOT TRUE
"""
"""As `pipeline.state.statistics.quantiles`."""

_CLASS_COUNTS = """
    SELECT c.layer, c.unit, -1, format('the label {} has {} images in classes, {} in images ({} rows)',
        coalesce(c.label, 'NULL'), any_value(c.images), coalesce(any_value(i.images), 0), count(*))
    FROM classes AS c LEFT JOIN (SELECT label, count(*) AS images FROM images GROUP BY label) AS i
        ON i.label = c.label
    GROUP BY c.layer, c.unit, c.label
    HAVING (count(*) = 1 AND min(c.images) = any_value(i.images)) IS NOT TRUE
"""

_CLASS_ROWS = """
    SELECT layer, unit, -1, format('{} labels in classes, expected {}', found, expected) FROM (
        SELECT u.layer, u.unit, count(c.label) AS found, (
            SELECT least(count(DISTINCT label), $classes) FROM images
        ) AS expected
        FROM units AS u LEFT JOIN classes AS c ON c.layer = u.layer AND c.unit = u.unit
        GROUP BY ALL
    ) WHERE (found = expected) IS NOT TRUE
"""

_CLASS_MEANS = f"""
    SELECT layer, unit, -1, format('the means of its labels, {{}} images with a sum of {{}}, leave {{}} for '
        'the other {{}} images, which is not possible', known, total, rest, others)
    FROM (
        SELECT u.layer, u.unit, u.min, u.max, c.known, c.total, u.images - c.known AS others,
            u.mean * u.images - c.total AS rest,
            {_SPAN} * 1e-9 AS slack, c.low >= u.min - slack AND c.high <= u.max + slack AS inside,
            u.images * slack AS slack_sum
        FROM units AS u JOIN (
            SELECT layer, unit, sum(images) AS known, sum(images * mean_peak) AS total,
                min(mean_peak) AS low, max(mean_peak) AS high
            FROM classes GROUP BY layer, unit
        ) AS c ON c.layer = u.layer AND c.unit = u.unit
    )
    WHERE (inside AND rest BETWEEN others * min - slack_sum AND others * max + slack_sum) IS NOT TRUE
"""

_TOP_LABEL = """
    SELECT u.layer, u.unit, -1, format('top_label is {}, expected {}', coalesce(u.top_label, 'NULL'),
        coalesce(CASE WHEN u.min < u.max THEN c.label END, 'NULL'))
    FROM units AS u LEFT JOIN (
        SELECT c.layer, c.unit, arg_min(c.label, (least(u.min, 0) - c.mean_peak, c.label)) AS label
        FROM classes AS c JOIN units AS u ON u.layer = c.layer AND u.unit = c.unit
        GROUP BY c.layer, c.unit
    ) AS c ON c.layer = u.layer AND c.unit = u.unit
    WHERE CASE WHEN u.min < u.max THEN c.label END IS DISTINCT FROM u.top_label
"""

_SELECTIVITY = """
    SELECT layer, unit, -1, format('selectivity is {}, expected {}', coalesce(selectivity::VARCHAR, 'NULL'),
        CASE WHEN NOT defined THEN 'NULL' WHEN known THEN index::VARCHAR ELSE 'a number in 0..1' END)
    FROM (
        SELECT *, min < max AND labels > 1 AS defined, listed = labels AS known,
            (total - best) / (labels - 1) AS rest,
            CASE WHEN best + rest > 0 THEN (best - rest) / (best + rest) ELSE 0 END AS index
        FROM (
            SELECT u.layer, u.unit, u.min, u.max, u.selectivity, count(c.label) AS listed,
                (SELECT count(DISTINCT label) FROM images) AS labels,
                max(c.mean_peak - least(u.min, 0)) AS best, sum(c.mean_peak - least(u.min, 0)) AS total
            FROM units AS u LEFT JOIN classes AS c ON c.layer = u.layer AND c.unit = u.unit
            GROUP BY ALL
        )
    )
    WHERE CASE WHEN NOT defined THEN selectivity IS NOT NULL
        WHEN known THEN (abs(selectivity - index) <= 1e-5) IS NOT TRUE
        ELSE (selectivity BETWEEN -1e-6 AND 1 + 1e-6) IS NOT TRUE END
"""
"""The class selectivity index needs all labels; where some are not kept, only its range is known."""

_MAJORITY = """
    WITH labelled AS (
        SELECT t.layer, t.unit, i.label, count(*) AS images, min(t.rank) AS first
        FROM top AS t JOIN images AS i ON i.image_id = t.image_id
        WHERE t.side = 'high' AND i.label IS NOT NULL
        GROUP BY ALL
    ), best AS (
        SELECT layer, unit, arg_min(label, (-images, first)) AS label,
            (max(images) / sum(images))::FLOAT AS share
        FROM labelled GROUP BY layer, unit
    )
    SELECT u.layer, u.unit, -1, format('the majority label of its list is {} with a share of {}, expected {} '
        'and {}', coalesce(u.majority_label, 'NULL'), u.precision, coalesce(b.label, 'NULL'), b.share)
    FROM units AS u LEFT JOIN best AS b ON b.layer = u.layer AND b.unit = u.unit
    WHERE u.majority_label IS DISTINCT FROM b.label OR u.precision IS DISTINCT FROM b.share
"""

UNIT_RULES = (
    _PLACES,
    _ORPHANS,
    _COUNTS,
    _RANGES,
    _BUCKETS,
    _HISTOGRAM_SUMS,
    _HISTOGRAM_ENDS,
    _HISTOGRAM_MOMENTS,
    _ACTIVE,
    _QUANTILES,
    _CLASS_COUNTS,
    _CLASS_ROWS,
    _CLASS_MEANS,
    _TOP_LABEL,
    _SELECTIVITY,
    _MAJORITY,
)
"""All rules of this module; they use the parameters `$lower`, `$upper` and `$classes`."""
