-- The units that distinguish labels best, by class selectivity index.
--
-- Parameters
--   $layer: text = any        only this layer
--   $n: integer 1.. = 20      number of units
-- Columns
--   layer                     name of the layer
--   unit                      number of the unit
--   selectivity               (a - b) / (a + b): mean peaks of the best label and the others
--   top_label                 label with the highest mean peak
--   majority_label            most frequent label among the top images
--   precision                 share of that label among the top images
--   active_fraction           share of images in which the unit is active
--   max                       highest peak
SELECT
    units.layer, units.unit, units.selectivity, units.top_label, units.majority_label,
    units.precision, units.active_fraction, units.max
FROM units JOIN layers USING (layer)
WHERE ($layer IS NULL OR units.layer = $layer) AND units.selectivity IS NOT NULL
ORDER BY units.selectivity DESC, units.precision DESC, layers.ordinal, units.unit
LIMIT $n
