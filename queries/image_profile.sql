-- The profile of an image: its peak at every unit, those furthest above the unit's mean first.
-- Needs an index made with --keep peaks.
--
-- Parameters
--   $image: integer 0..       number of the image in `images`
--   $layer: text = any        name of the layer
--   $n: integer 1.. = 20      number of units
-- Columns
--   layer                     name of the layer
--   unit                      number of the unit
--   peak                      peak of the unit on the image
--   deviations                how many standard deviations above the unit's mean that is
--   mean                      the unit's mean peak over all images
--   share                     of the images, in the histogram's buckets below that of the peak
SELECT
    layer, unit, peak, deviations, mean,
    (
        SELECT coalesce(sum(h.images) FILTER (
            h.upper < p.peak OR (h.upper = p.peak AND h.upper > 0)
        ), 0) / sum(h.images)
        FROM histograms AS h WHERE h.layer = p.layer AND h.unit = p.unit
    ) AS share
FROM (
    SELECT
        peaks.layer, ordinal, peaks.unit, peak, mean,
        (peak - mean) / nullif(std, 0) AS deviations
    FROM peaks
    JOIN units ON units.layer = peaks.layer AND units.unit = peaks.unit
    JOIN layers ON layers.layer = peaks.layer
    WHERE peaks.image_id = $image AND ($layer IS NULL OR peaks.layer = $layer)
    ORDER BY deviations DESC NULLS LAST, ordinal, peaks.unit
    LIMIT $n
) AS p
ORDER BY deviations DESC NULLS LAST, ordinal, unit
