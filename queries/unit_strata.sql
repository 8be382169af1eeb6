-- Sample images from each tenth of a unit's peaks, lowest tenth first. Images with medium
-- activation can say as much about a unit as its top images.
--
-- Parameters
--   $layer: text              name of the layer
--   $unit: integer 0..        number of the unit
-- Columns
--   stratum                   from 0, the lowest tenth, to 9, the highest
--   activation                peak of the unit on the image
--   key                       name of the image in the dataset
--   label                     label of the image
--   image_id                  number of the image in `images`
--   y                         grid row of the peak
--   x                         grid column of the peak
SELECT
    strata.stratum, strata.activation, images.key, images.label,
    image_id, strata.y, strata.x
FROM strata JOIN images USING (image_id)
WHERE strata.layer = $layer AND strata.unit = $unit
ORDER BY strata.stratum, strata.activation, image_id
