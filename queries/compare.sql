-- Compares two indexes of one dataset (two networks, or two checkpoints of one): for each unit of
-- a layer, the unit of the other index whose top images are most similar. Units that share no top
-- image with any, among them those without top images, are left out.
--
-- Parameters
--   $other: index             folder of the other index
--   $layer: text              a layer of this index
--   $other_layer: text        a layer of the other index
--   $n: integer 1.. = 50      number of units
-- Columns
--   unit                      a unit of this index
--   best                      the most similar unit of the other index
--   shared                    number of images in both lists
--   jaccard                   shared / number of images in either list
--   same_unit                 number of images shared with the unit of the same number
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
)
SELECT
    matched.unit, matched.best, matched.shared, matched.jaccard, matched.same_unit,
    a.mean AS mean, b.mean AS other_mean
FROM matched
LEFT JOIN units AS a ON a.layer = $layer AND a.unit = matched.unit
LEFT JOIN other.units AS b ON b.layer = $other_layer AND b.unit = matched.best
ORDER BY matched.jaccard DESC, matched.shared DESC, matched.unit
LIMIT $n
