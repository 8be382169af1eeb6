-- The names of a unit: concepts whose weighted sum explains its peaks, best first.
--
-- Parameters
--   $layer: text              name of the layer
--   $unit: integer 0..        number of the unit
-- Columns
--   rank                      place of the concept, from 1
--   concept                   a label, or a node of a hierarchy with all labels below it
--   source                    label, wordnet or hierarchy
--   held_out                  correlation over images that were not used to choose the concept
--   correlation               correlation over all labelled images
--   combined                  held-out correlation of the weighted sum of concepts up to this rank
--   weight                    by how much the unit's peak rises where the concept is in the image
--   images                    images of the concept
SELECT rank, concept, source, held_out, correlation, combined, weight, images
FROM names
WHERE layer = $layer AND unit = $unit
ORDER BY rank
