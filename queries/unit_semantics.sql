-- Units of a layer by how clear their top images are to an encoder, clearest first.
--
-- Parameters
--   $layer: text              name of the layer
--   $n: integer 1.. = 20      number of units
-- Columns
--   unit                      number of the unit
--   clarity                   mean cosine of two of its top images, at most 1
--   polysemanticity           1 less the cosine of the centres of two clusters of them
--   redundancy                cosine of its mean embedding with that of the most similar unit
--   nearest                   that unit
--   images                    top images that were embedded
--   names                     its first name and its first in words
WITH best AS (
    SELECT unit, concept, rank FROM names
    WHERE layer = $layer AND source <> 'linear'
    QUALIFY row_number() OVER (PARTITION BY unit, source = 'words' ORDER BY rank) = 1
), named AS (
    SELECT unit, string_agg(concept, ', ' ORDER BY rank) AS names FROM best GROUP BY unit
)
SELECT unit, clarity, polysemanticity, redundancy, nearest, images, names
FROM semantics LEFT JOIN named USING (unit)
WHERE layer = $layer
ORDER BY clarity DESC, unit
LIMIT $n
