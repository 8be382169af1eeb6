-- Compares two indexes of one dataset (two networks, or two checkpoints of one): for each unit of
-- a layer, the unit of the other index whose top images are most similar. The units that changed
-- most come first: those that share no top image with any, then by the share of images that are
-- on one list only. Units without top images come last.
--
-- Parameters
--   $other: index             folder of the other index
--   $layer: text              a layer of this index
--   $other_layer: text        a layer of the other index
--   $n: integer 1.. = 50      number of units
-- Columns
--   unit                      a unit of this index
--   best                      the most similar unit of the other index, if any shares an image
--   shared                    number of images in both lists
--   jaccard                   shared / number of images in either list
--   change                    1 - jaccard
--   same_unit                 number of images shared with the unit of the same number
--   label                     most frequent label among the top images of this unit
--   other_label               that among those of the other unit
--   precision                 share of `label` among the top images of this unit
--   other_precision           share of `other_label` among those of the other unit
--   mean                      mean peak of this unit
--   other_mean                mean peak of the other unit
WITH ours AS (
    SELECT unit, image_id, count(*) OVER (PARTITION BY unit) AS length
    FROM top WHERE layer = $layer AND side = 'high'
), theirs AS (
    SELECT unit, image_id, count(*) OVER (PARTITION BY unit) AS length
    FROM other.top WHERE layer = $other_layer AND side = 'high'
), paired AS (
    SELECT
        ours.unit AS unit, theirs.unit AS best,
        count(*) AS shared,
        count(*) / (any_value(ours.length) + any_value(theirs.length) - count(*)) AS jaccard
    FROM ours JOIN theirs USING (image_id)
    GROUP BY ours.unit, theirs.unit
), matched AS (
    SELECT
        *,
        coalesce(max(shared) FILTER (best = unit) OVER (PARTITION BY unit), 0) AS same_unit
    FROM paired
    QUALIFY row_number() OVER (PARTITION BY unit ORDER BY jaccard DESC, best) = 1
), listed AS (
    SELECT DISTINCT unit FROM ours
), compared AS (
    SELECT
        a.unit, matched.best, coalesce(matched.shared, 0) AS shared,
        CASE WHEN listed.unit IS NOT NULL THEN coalesce(matched.jaccard, 0) END AS jaccard,
        coalesce(matched.same_unit, 0) AS same_unit, a.majority_label, a.precision, a.mean
    FROM units AS a
    LEFT JOIN listed ON listed.unit = a.unit
    LEFT JOIN matched ON matched.unit = a.unit
    WHERE a.layer = $layer
)
SELECT
    compared.unit, compared.best, compared.shared, compared.jaccard,
    1 - compared.jaccard AS change, compared.same_unit,
    compared.majority_label AS label, b.majority_label AS other_label,
    compared.precision, b.precision AS other_precision, compared.mean, b.mean AS other_mean
FROM compared
LEFT JOIN other.units AS b ON b.layer = $other_layer AND b.unit = compared.best
ORDER BY compared.jaccard NULLS LAST, compared.unit
LIMIT $n
