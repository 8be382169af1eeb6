-- Hub images: the images that appear in the top lists of most units.
--
-- Parameters
--   $layer: text = any        only this layer
--   $side: high|low = high    `high` for the highest peaks, `low` for the lowest
--   $n: integer 1.. = 20      number of images
-- Columns
--   image_id                  number of the image in `images`
--   key                       name of the image in the dataset
--   label                     label of the image
--   units                     number of units that list it among their top images
--   share                     that number / number of units with top images
--   layers                    number of layers to which these units belong
--   first                     number of units that list it first
WITH listed AS (
    SELECT image_id, layer, rank FROM top
    WHERE side = $side AND ($layer IS NULL OR layer = $layer)
), counted AS (
    SELECT image_id, count(*) AS units, count(*) FILTER (rank = 1) AS first
    FROM listed GROUP BY image_id
    ORDER BY units DESC, first DESC, image_id
    LIMIT $n
), spread AS (
    SELECT image_id, count(DISTINCT layer) AS layers
    FROM listed WHERE image_id IN (SELECT image_id FROM counted) GROUP BY image_id
)
SELECT
    image_id, images.key, images.label, counted.units,
    counted.units / (SELECT count(*) FROM listed WHERE rank = 1) AS share,
    spread.layers, counted.first
FROM counted JOIN spread USING (image_id) JOIN images USING (image_id)
ORDER BY counted.units DESC, counted.first DESC, image_id
