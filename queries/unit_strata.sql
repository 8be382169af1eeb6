-- Images from each tenth of a unit's range of peaks, weakest tenth first: what it half likes says
-- as much as what it likes best.
--
-- Parameters
--   $layer: text              the layer's name
--   $unit: integer 0..        the unit's number
-- Columns
--   stratum                   0 is the lowest tenth, 9 the highest
--   activation                the image's peak
--   key                       the image's name in the dataset
--   label                     its label
--   image_id                  its number in `images`
--   y                         grid row of the peak
--   x                         grid column of the peak
SELECT
    strata.stratum, strata.activation, images.key, images.label,
    image_id, strata.y, strata.x
FROM strata JOIN images USING (image_id)
WHERE strata.layer = $layer AND strata.unit = $unit
ORDER BY strata.stratum, strata.activation, image_id
