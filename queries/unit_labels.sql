-- The labels with the highest mean peaks of a unit.
--
-- Parameters
--   $layer: text              name of the layer
--   $unit: integer 0..        number of the unit
--   $n: integer 1.. = 20      number of labels
-- Columns
--   label                     the label
--   images                    number of images with that label
--   mean_peak                 mean peak of the unit over these images
--   in_top                    number of the unit's top images with the label
WITH counted AS (
    SELECT label, count(*) AS in_top FROM patches
    WHERE layer = $layer AND unit = $unit AND side = 'high'
    GROUP BY label
)
SELECT
    label, classes.images, classes.mean_peak, coalesce(counted.in_top, 0) AS in_top
FROM classes LEFT JOIN counted USING (label)
WHERE classes.layer = $layer AND classes.unit = $unit
ORDER BY classes.mean_peak DESC, label
LIMIT $n
