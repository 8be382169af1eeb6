-- Pairs of units of one layer that share their top images: they may look for the same thing.
--
-- Parameters
--   $layer: text              the layer's name
--   $at_least: integer 1.. = 3  how many images a pair must share
--   $side: high|low = high    high for the highest peaks, low for the lowest
--   $n: integer 1.. = 50      how many pairs
-- Columns
--   unit                      the lower unit of the pair
--   other                     the higher one
--   shared                    images in both lists
--   jaccard                   shared over all images in either list
--   same_place                of the shared, those whose peaks lie at the same grid position
--   example                   the shared image of the best rank in both
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
