-- Units that never respond: active in no image of the dataset, or constant over all images. A
-- constant unit has no top images, no labels and no strata.
--
-- Parameters
--   $layer: text = any        only this layer
--   $at_most: number 0..1 = 0  also include units active in at most this share of images
-- Columns
--   layer                     name of the layer
--   unit                      number of the unit
--   active_fraction           share of images in which the unit is active
--   min                       lowest peak
--   max                       highest peak
--   std                       standard deviation of the peaks
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
