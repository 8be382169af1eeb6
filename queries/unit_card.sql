-- All statistics of one unit, in one row.
--
-- Parameters
--   $layer: text              name of the layer
--   $unit: integer 0..        number of the unit
-- Columns
--   layer                     name of the layer
--   unit                      number of the unit
--   name                      name of its class, if the layer is a classifier with known classes
--   images                    number of indexed images
--   active_fraction           share of images in which the unit is active
--   mean                      mean of the peaks
--   std                       standard deviation of the peaks
--   min                       lowest peak
--   p50                       median
--   p99                       99th percentile
--   max                       highest peak
--   selectivity               class selectivity index, from 0 (none) to 1
--   top_label                 label with the highest mean peak
--   majority_label            most frequent label among the top images
--   precision                 share of that label among the top images
--   best_key                  name of the image with the highest peak
--   best_label                label of that image
--   top_labels                labels of the top images with counts, most frequent first
--   names                     concepts and words that explain the peaks, with held-out correlations
--   clarity                   mean cosine of the top images' embeddings, if they were embedded
--   polysemanticity           how far apart two clusters of them are
--   redundancy                cosine with the most similar unit of the layer
WITH best AS (
    SELECT key, label FROM patches
    WHERE layer = $layer AND unit = $unit AND side = 'high' AND rank = 1
), counted AS (
    SELECT label, count(*) AS images FROM patches
    WHERE layer = $layer AND unit = $unit AND side = 'high' AND label IS NOT NULL
    GROUP BY label
)
SELECT
    units.layer, units.unit, class_names.name, units.images, units.active_fraction,
    units.mean, units.std, units.min, units.p50, units.p99, units.max,
    units.selectivity, units.top_label, units.majority_label, units.precision,
    (SELECT key FROM best) AS best_key,
    (SELECT label FROM best) AS best_label,
    (SELECT string_agg(label || ' ' || images, ', ' ORDER BY images DESC, label) FROM counted)
        AS top_labels,
    (
        SELECT string_agg(format('{} {:.2f}', concept, held_out), ', ' ORDER BY rank) FROM names
        WHERE layer = $layer AND unit = $unit AND source <> 'linear'
    ) AS names,
    semantics.clarity, semantics.polysemanticity, semantics.redundancy
FROM units LEFT JOIN class_names USING (layer, unit) LEFT JOIN semantics USING (layer, unit)
WHERE units.layer = $layer AND units.unit = $unit
ORDER BY units.layer, units.unit
