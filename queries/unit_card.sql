-- Everything the index says of one unit, in one row.
--
-- Parameters
--   $layer: text              the layer's name
--   $unit: integer 0..        the unit's number
-- Columns
--   layer                     the layer's name
--   unit                      the unit's number
--   images                    how many images were indexed
--   active_fraction           share of the images in which the unit is active
--   mean                      mean of its peaks
--   std                       their standard deviation
--   min                       the lowest peak
--   p50                       the median
--   p99                       the 99th percentile
--   max                       the highest peak
--   selectivity               class selectivity index, 0 for none to 1
--   top_label                 the label with the highest mean peak
--   majority_label            the label most frequent among the top images
--   precision                 its share of the top images
--   best_key                  the image with the highest peak
--   best_label                its label
--   top_labels                the labels of the top images, most frequent first
WITH best AS (
    SELECT key, label FROM patches
    WHERE layer = $layer AND unit = $unit AND side = 'high' AND rank = 1
), counted AS (
    SELECT label, count(*) AS images FROM patches
    WHERE layer = $layer AND unit = $unit AND side = 'high' AND label IS NOT NULL
    GROUP BY label
)
SELECT
    units.layer, units.unit, units.images, units.active_fraction,
    units.mean, units.std, units.min, units.p50, units.p99, units.max,
    units.selectivity, units.top_label, units.majority_label, units.precision,
    (SELECT key FROM best) AS best_key,
    (SELECT label FROM best) AS best_label,
    (SELECT string_agg(label || ' ' || images, ', ' ORDER BY images DESC, label) FROM counted)
        AS top_labels
FROM units
WHERE units.layer = $layer AND units.unit = $unit
ORDER BY units.layer, units.unit
