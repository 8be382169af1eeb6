-- Pairs of units of one layer that share top images, and may therefore respond to the same thing.
--
-- Parameters
--   $layer: text              name of the layer
--   $at_least: integer 1.. = 3  number of images that a pair must share
--   $side: high|low = high    `high` for the highest peaks, `low` for the lowest
--   $n: integer 1.. = 50      number of pairs
-- Columns
--   unit                      unit with the lower number
--   other                     unit with the higher number
--   shared                    number of images in both lists
--   jaccard                   shared / number of images in either list
--   same_place                number of shared images with both peaks at the same grid position
--   example                   shared image with the best ranks
WITH listed AS (
    SELECT unit, image_id, rank, y, x, count(*) OVER (PARTITION BY unit) AS length
    FROM top WHERE layer = $layer AND side = $side
), paired AS (
    SELECT
        a.unit AS unit, b.unit AS other,
        count(*) AS shared,
        count(*) / (any_value(a.length) + any_value(b.length) - count(*)) AS jaccard,
        count(*) FILTER (a.y = b.y AND a.x = b.x) AS same_place,
        arg_min(a.image_id, (a.rank + b.rank, a.image_id)) AS image_id
    FROM listed AS a JOIN listed AS b ON a.image_id = b.image_id AND a.unit < b.unit
    GROUP BY a.unit, b.unit
    HAVING count(*) >= $at_least
)
SELECT unit, other, shared, jaccard, same_place, images.key AS example
FROM paired JOIN images USING (image_id)
ORDER BY jaccard DESC, shared DESC, unit, other
LIMIT $n
