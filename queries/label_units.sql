-- The units that a label drives: those with the largest share of it among their top images.
--
-- Parameters
--   $label: text              a label of the dataset
--   $layer: text = any        of this layer only
--   $n: integer 1.. = 20      how many units
-- Columns
--   layer                     the layer's name
--   unit                      the unit's number
--   in_top                    how many of its top images have the label
--   of                        how many top images it has
--   share                     in_top / of
--   lift                      share over the label's share of the whole dataset
--   mean_peak                 mean peak over the label's images, where it was kept in `classes`
--   max                       the unit's highest peak
WITH base AS (
    SELECT avg(CASE WHEN label = $label THEN 1 ELSE 0 END) AS share FROM images
), counted AS (
    SELECT
        ordinal, layer, unit,
        count(*) FILTER (label = $label) AS in_top,
        count(*) AS listed
    FROM patches
    WHERE side = 'high' AND ($layer IS NULL OR layer = $layer)
    GROUP BY ordinal, layer, unit
)
SELECT
    counted.layer, counted.unit, counted.in_top, counted.listed AS of,
    counted.in_top / counted.listed AS share,
    counted.in_top / counted.listed / base.share AS lift,
    classes.mean_peak, units.max
FROM counted CROSS JOIN base
LEFT JOIN units ON units.layer = counted.layer AND units.unit = counted.unit
LEFT JOIN classes
    ON classes.layer = counted.layer AND classes.unit = counted.unit AND classes.label = $label
WHERE counted.in_top > 0
ORDER BY share DESC, counted.in_top DESC, counted.ordinal DESC, counted.unit
LIMIT $n
