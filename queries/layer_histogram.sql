-- How the peaks of a layer, or of one of its units, are spread.
--
-- Parameters
--   $layer: text              the layer's name
--   $unit: integer 0.. = any   of this unit only
-- Columns
--   lower                     lower edge of the bucket
--   upper                     upper edge
--   images                    peaks in the bucket
--   share                     of all peaks
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
