-- The concepts of masks that cover the active places of units best, by the intersection over union
-- on the half of the images that did not choose them.
--
-- Parameters
--   $layer: text = any        name of the layer
--   $n: integer 1.. = 50      number of rows
--   $ranks: integer 1.. = 1   concepts of each unit
-- Columns
--   layer                     name of the layer
--   unit                      number of the unit
--   concept                   what the masks mark
--   iou_held_out              intersection over union in half 1 of the images
--   iou                       the same in all images
--   correlation_held_out      correlation of active and marked places in half 1
--   images                    images in which the concept is marked
--   threshold                 activation above which the unit is active
--   active                    share of all positions of the dataset that are active
SELECT
    d.layer, unit, concept, iou_held_out, iou, correlation_held_out, images, threshold, active
FROM dissection AS d JOIN layers ON layers.layer = d.layer
WHERE ($layer IS NULL OR d.layer = $layer) AND rank <= $ranks
ORDER BY iou_held_out DESC, ordinal, unit, rank
LIMIT $n
