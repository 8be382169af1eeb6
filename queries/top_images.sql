-- A unit's top images, strongest first, with the patch of each that the unit saw, in pixels of the
-- original photograph.
--
-- Parameters
--   $layer: text              the layer's name
--   $unit: integer 0..        the unit's number
--   $side: high|low = high    high for the highest peaks, low for the lowest
--   $n: integer 1.. = 16      how many images
-- Columns
--   rank                      1 is the most extreme
--   activation                the peak of the unit over all its positions
--   key                       the image's name in the dataset
--   label                     its label, where the dataset has labels
--   image_id                  its number in `images`
--   y                         grid row of the peak
--   x                         grid column of the peak
--   box_left                  the patch's left edge in the original, in pixels
--   box_top                   its upper edge
--   box_right                 its right edge, the first column outside
--   box_bottom                its lower edge, the first row outside
--   width                     the original's width, in pixels
--   height                    the original's height
SELECT
    rank, activation, key, label, image_id, y, x,
    box_left, box_top, box_right, box_bottom, width, height
FROM patches
WHERE layer = $layer AND unit = $unit AND side = $side AND rank <= $n
ORDER BY rank
