-- The units that have an image among their top images, best ranks first.
--
-- Parameters
--   $image: integer 0..       number of the image in `images`
--   $layer: text = any        only this layer
--   $side: high|low = high    `high` for the highest peaks, `low` for the lowest
--   $n: integer 1.. = 50      number of units
-- Columns
--   layer                     name of the layer
--   unit                      number of the unit
--   rank                      from 1, the most extreme
--   activation                peak of the unit on the image
--   y                         grid row of the peak
--   x                         grid column of the peak
SELECT layer, unit, rank, activation, y, x
FROM top JOIN layers USING (layer)
WHERE image_id = $image AND side = $side AND ($layer IS NULL OR layer = $layer)
ORDER BY rank, ordinal, unit
LIMIT $n
