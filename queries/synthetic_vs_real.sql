-- Renderings ranked by how far they drive their unit beyond the dataset's best image. The
-- activation is measured on the saved PNG, through the dataset's own preprocessing.
--
-- Parameters
--   $layer: text = any        of this layer only
--   $recipe: text = any       of this recipe only
--   $n: integer 1.. = 50      how many renderings
-- Columns
--   layer                     the layer's name
--   unit                      the unit's number
--   recipe                    the recipe's name
--   objective                 point, channel, ...
--   facet                     which of several renderings of the unit
--   seed                      of the rendering
--   activation                measured on the saved PNG
--   best_real                 the highest peak over the dataset; the lowest, where that is sought
--   ratio                     activation over best_real; NULL, and last, where these do not compare
--   status                    whether the rendering worked
--   file                      the picture, relative to OUT
SELECT
    renders.layer, renders.unit, renders.recipe, renders.objective, renders.facet, renders.seed,
    renders.activation, renders.best_real, renders.ratio, renders.status, renders.file
FROM renders LEFT JOIN layers USING (layer)
WHERE ($layer IS NULL OR renders.layer = $layer)
  AND ($recipe IS NULL OR renders.recipe = $recipe)
ORDER BY renders.ratio DESC NULLS LAST, layers.ordinal, renders.unit, renders.recipe,
    renders.objective, renders.facet, renders.seed
LIMIT $n
