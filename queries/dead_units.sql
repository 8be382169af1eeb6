-- Units that never fire: active in no image of the dataset, or the same in every one.
--
-- Parameters
--   $layer: text = any        of this layer only
--   $at_most: number 0..1 = 0  also those that are active in at most this share of the images
-- Columns
--   layer                     the layer's name
--   unit                      the unit's number
--   active_fraction           share of the images in which it is active
--   min                       its lowest peak
--   max                       its highest peak
--   std                       the standard deviation of its peaks
--   reason                    constant, never active, or rarely active
SELECT
    units.layer, units.unit, units.active_fraction, units.min, units.max, units.std,
    CASE WHEN units.min = units.max THEN 'constant'
         WHEN units.active_fraction = 0 THEN 'never active'
         ELSE 'rarely active'
    END AS reason
FROM units JOIN layers USING (layer)
WHERE ($layer IS NULL OR units.layer = $layer)
  AND (units.min = units.max OR units.active_fraction <= $at_most)
ORDER BY layers.ordinal, units.unit
