-- Units whose names contain words, by held-out correlation.
--
-- Parameters
--   $text: text               words that the concept must contain, whole, in any order and case
--   $n: integer 1.. = 20      number of units
-- Columns
--   layer                     name of the layer
--   unit                      number of the unit
--   concept                   the name
--   source                    label, wordnet, hierarchy, concepts, masks, words or linear
--   held_out                  correlation over images that were not used to choose the name
--   correlation               correlation over the images of both halves
--   rank                      place of the concept among the unit's names
--   images                    images of the concept; of words, those it is judged on
WITH wanted AS (
    SELECT regexp_extract_all(replace(lower($text), '_', ' '), '[^\s,()]+') AS words
), known AS (
    SELECT concept, regexp_extract_all(replace(lower(concept), '_', ' '), '[^\s,()]+') AS words
    FROM (SELECT DISTINCT concept FROM names)
), found AS (
    SELECT concept FROM known, wanted WHERE list_has_all(known.words, wanted.words)
)
SELECT
    names.layer, names.unit, names.concept, names.source, names.held_out, names.correlation,
    names.rank, names.images
FROM names JOIN found USING (concept) JOIN layers USING (layer)
-- A word that is ranked and also a term of the sum counts once.
QUALIFY row_number() OVER (
    PARTITION BY names.layer, names.unit, names.concept ORDER BY names.rank
) = 1
ORDER BY names.held_out DESC, layers.ordinal, names.unit, names.rank
LIMIT $n
