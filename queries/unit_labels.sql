-- The labels a unit answers to most.
--
-- Parameters
--   $layer: text              the layer's name
--   $unit: integer 0..        the unit's number
--   $n: integer 1.. = 20      how many labels
-- Columns
--   label                     the label
--   images                    images of that label
--   mean_peak                 the unit's mean peak over them
--   in_top                    how many of the unit's top images have the label
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
