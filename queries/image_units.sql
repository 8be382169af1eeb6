-- The units that an image drives most: those in whose lists of highest (or lowest) peaks it is,
-- the best ranks first.
--
-- Parameters
--   $image: integer 0..       number of the image in `images`
--   $side: high|low = high    `high` for the highest peaks, `low` for the lowest
--   $n: integer 1.. = 64      number of units
-- Columns
--   layer                     name of the layer
--   unit                      number of the unit
--   rank                      of the image in the unit's list
--   activation                peak of the unit on the image
--   y                         grid row of the peak
--   x                         grid column of the peak
SELECT top.layer, unit, rank, activation, y, x
FROM top JOIN layers USING (layer)
WHERE image_id = $image AND side = $side
ORDER BY rank, layers.ordinal, unit
LIMIT $n
