-- The units that tell the labels apart best, by class selectivity index.
--
-- Parameters
--   $layer: text = any        of this layer only
--   $n: integer 1.. = 20      how many units
-- Columns
--   layer                     the layer's name
--   unit                      the unit's number
--   selectivity               (best label's mean peak - the rest's) over their sum, 0 to 1
--   top_label                 the label with the highest mean peak
--   majority_label            the label most frequent among the top images
--   precision                 its share of the top images
--   active_fraction           share of the images in which the unit is active
--   max                       the highest peak
SELECT
    units.layer, units.unit, units.selectivity, units.top_label, units.majority_label,
    units.precision, units.active_fraction, units.max
FROM units JOIN layers USING (layer)
WHERE ($layer IS NULL OR units.layer = $layer) AND units.selectivity IS NOT NULL
ORDER BY units.selectivity DESC, units.precision DESC, layers.ordinal, units.unit
LIMIT $n
