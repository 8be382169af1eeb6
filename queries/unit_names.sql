-- The names of a unit: concepts from labels, then words by an encoder, each best first.
--
-- Parameters
--   $layer: text              name of the layer
--   $unit: integer 0..        number of the unit
-- Columns
--   rank                      place of the concept, from 1
--   concept                   a label, a node of a hierarchy with all labels below it, or a word
--   source                    label, wordnet, hierarchy, concepts, masks, words or linear
--   held_out                  correlation over images that were not used to choose the name
--   correlation               correlation over the images of both halves
--   combined                  held-out correlation of the weighted sum up to this rank
--   weight                    by how much the peak rises with the concept or the word's cosine
--   images                    images of the concept; of words, those it is judged on
SELECT rank, concept, source, held_out, correlation, combined, weight, images
FROM names
WHERE layer = $layer AND unit = $unit
ORDER BY rank
