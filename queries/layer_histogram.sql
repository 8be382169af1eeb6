-- The distribution of the peaks of a layer, or of one of its units.
--
-- Parameters
--   $layer: text              name of the layer
--   $unit: integer 0.. = any   only this unit
-- Columns
--   lower                     lower edge of the bucket
--   upper                     upper edge of the bucket
--   images                    number of peaks in the bucket
--   share                     share of all peaks
--   cumulative                share of the peaks in this bucket or a lower one
WITH buckets AS (
    SELECT lower, upper, sum(images) AS images FROM histograms
    WHERE layer = $layer AND ($unit IS NULL OR unit = $unit)
    GROUP BY lower, upper
)
SELECT
    lower, upper, images::BIGINT AS images,
    images / sum(images) OVER () AS share,
    sum(images) OVER (ORDER BY lower, upper) / sum(images) OVER () AS cumulative
FROM buckets
ORDER BY lower, upper
