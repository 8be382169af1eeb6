-- Hub images: those that are in most units' top lists.
--
-- Parameters
--   $layer: text = any        of this layer only
--   $side: high|low = high    high for the highest peaks, low for the lowest
--   $n: integer 1.. = 20      how many images
-- Columns
--   image_id                  its number in `images`
--   key                       the image's name in the dataset
--   label                     its label
--   units                     how many units have it among their top images
--   share                     that number over all the units asked for
--   layers                    over how many layers they spread
--   first                     how many units have it first
WITH listed AS (
    SELECT image_id, layer, unit, rank FROM top
    WHERE side = $side AND ($layer IS NULL OR layer = $layer)
), counted AS (
    SELECT
        image_id,
        count(*) AS units,
        count(DISTINCT layer) AS layers,
        count(*) FILTER (rank = 1) AS first
    FROM listed GROUP BY image_id
    ORDER BY units DESC, first DESC, image_id
    LIMIT $n
)
SELECT
    image_id, images.key, images.label, counted.units,
    counted.units / (SELECT count(DISTINCT (layer, unit)) FROM listed) AS share,
    counted.layers, counted.first
FROM counted JOIN images USING (image_id)
ORDER BY counted.units DESC, counted.first DESC, image_id
