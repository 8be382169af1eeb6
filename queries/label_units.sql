-- The units that respond to a label: those with the most and the largest share of it among their
-- top images, ordered by in_top * share.
--
-- Parameters
--   $label: text              a label of the dataset
--   $layer: text = any        only this layer
--   $n: integer 1.. = 20      number of units
-- Columns
--   layer                     name of the layer
--   unit                      number of the unit
--   in_top                    number of its top images with the label
--   of                        number of its top images
--   share                     in_top / of
--   lift                      share / share of the label in the whole dataset
--   mean_peak                 mean peak over the label's images, if `classes` contains it
--   max                       highest peak of the unit
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
ORDER BY counted.in_top * counted.in_top / counted.listed DESC, counted.in_top DESC,
    counted.ordinal DESC, counted.unit
LIMIT $n
