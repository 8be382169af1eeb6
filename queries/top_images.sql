-- A unit's top images, strongest first, with the patch that the unit saw in each, in pixels of the
-- original photograph.
--
-- Parameters
--   $layer: text              name of the layer
--   $unit: integer 0..        number of the unit
--   $side: high|low = high    `high` for the highest peaks, `low` for the lowest
--   $n: integer 1.. = 16      number of images
-- Columns
--   rank                      from 1, the most extreme
--   activation                peak of the unit on the image
--   key                       name of the image in the dataset
--   label                     label of the image, if the dataset has labels
--   image_id                  number of the image in `images`
--   y                         grid row of the peak
--   x                         grid column of the peak
--   box_left                  left edge of the patch in the original, in pixels
--   box_top                   upper edge
--   box_right                 right edge: the first column outside
--   box_bottom                lower edge: the first row outside
--   width                     width of the original, in pixels
--   height                    height of the original, in pixels
SELECT
    rank, activation, key, label, image_id, y, x,
    box_left, box_top, box_right, box_bottom, width, height
FROM patches
WHERE layer = $layer AND unit = $unit AND side = $side AND rank <= $n
ORDER BY rank
