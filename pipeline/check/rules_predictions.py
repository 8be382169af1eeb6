"""Rules for `predictions`. See `pipeline.check.rules_units` for their form."""

from __future__ import annotations

__all__ = ["PREDICTION_RULES"]

_ORDER = """
    SELECT '', -1, image_id, format('has the prediction {} on rank {}, expected rank {}', unit, rank, place)
    FROM (
        SELECT *, row_number() OVER (PARTITION BY image_id ORDER BY score DESC, unit) AS place
        FROM predictions
    )
    WHERE (rank = place) IS NOT TRUE
    UNION ALL
    SELECT '', -1, image_id, format('has {} predictions, expected {}', count(*), fewest)
    FROM predictions CROSS JOIN (
        SELECT least(5, arg_max(units, ordinal)) AS fewest FROM layers
    )
    GROUP BY image_id, fewest HAVING count(*) <> fewest OR count(DISTINCT unit) <> fewest
    UNION ALL
    SELECT '', -1, i.image_id, 'has no predictions, but others have'
    FROM images AS i WHERE EXISTS (FROM predictions)
        AND NOT EXISTS (FROM predictions AS p WHERE p.image_id = i.image_id)
    UNION ALL
    SELECT '', -1, p.image_id, 'has predictions, but is not in images'
    FROM predictions AS p WHERE NOT EXISTS (FROM images AS i WHERE i.image_id = p.image_id)
"""

_PROBABILITIES = """
    SELECT '', unit, image_id, format('has the probability {} on rank {}', probability, rank)
    FROM (
        SELECT *, sum(probability) OVER image AS total, lag(probability) OVER (image ORDER BY rank) AS before
        FROM predictions WINDOW image AS (PARTITION BY image_id)
    )
    WHERE (probability BETWEEN 0 AND 1 AND total < 1.001 AND probability <= coalesce(before, 1)) IS NOT TRUE
"""

_NAMES = """
    SELECT l.layer, p.unit, p.image_id, format('is called {}, expected {}', coalesce(p.name, 'NULL'),
        coalesce(c.name, 'NULL'))
    FROM predictions AS p CROSS JOIN (SELECT arg_max(layer, ordinal) AS layer FROM layers) AS l
    LEFT JOIN class_names AS c ON c.layer = l.layer AND c.unit = p.unit
    WHERE (p.name = c.name) IS NOT TRUE
    UNION ALL
    SELECT '', p.unit, min(p.image_id), format('is correct for some images labelled {} only', i.label)
    FROM predictions AS p JOIN images AS i USING (image_id) WHERE i.label IS NOT NULL
    GROUP BY p.unit, i.label HAVING count(DISTINCT coalesce(p.correct::INTEGER, -1)) > 1
    UNION ALL
    SELECT '', p.unit, p.image_id, 'says whether it is correct, but the image has no label'
    FROM predictions AS p JOIN images AS i USING (image_id)
    WHERE i.label IS NULL AND p.correct IS NOT NULL
"""

_LISTED = """
    WITH last AS (SELECT arg_max(layer, ordinal) AS layer FROM layers), lowest AS (
        SELECT image_id, min(score) AS score FROM predictions GROUP BY image_id
    )
    SELECT t.layer, t.unit, t.image_id, format('is listed with {:g}, but predicted with {:g}', t.activation,
        coalesce(p.score, w.score))
    FROM top AS t JOIN last ON t.layer = last.layer JOIN lowest AS w ON w.image_id = t.image_id
    LEFT JOIN predictions AS p ON p.image_id = t.image_id AND p.unit = t.unit
    WHERE (CASE WHEN p.score IS NULL THEN t.activation <= w.score ELSE t.activation = p.score END) IS NOT TRUE
"""
"""A listed peak of the classifier is the image's score, or is not above its lowest one."""

PREDICTION_RULES = (_ORDER, _PROBABILITIES, _NAMES, _LISTED)
"""All rules of this module."""
