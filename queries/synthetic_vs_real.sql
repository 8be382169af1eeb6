-- Renderings, ranked by their activation relative to the dataset's best image. The activation is
-- measured on the saved PNG after the dataset's preprocessing.
--
-- Parameters
--   $layer: text = any        only this layer
--   $recipe: text = any       only this recipe
--   $n: integer 1.. = 50      number of renderings
-- Columns
--   layer                     name of the layer
--   unit                      number of the unit
--   recipe                    name of the recipe
--   objective                 point, channel, ...
--   facet                     number of the rendering, if the unit has several
--   seed                      random seed
--   activation                activation measured on the saved PNG
--   best_real                 highest peak over the dataset (lowest, if that is sought)
--   ratio                     activation / best_real; NULL, and last, if not comparable
--   status                    ok, retried, weak or grey
--   file                      path of the picture, relative to OUT
SELECT
    renders.layer, renders.unit, renders.recipe, renders.objective, renders.facet, renders.seed,
    renders.activation, renders.best_real, renders.ratio, renders.status, renders.file
FROM renders LEFT JOIN layers USING (layer)
WHERE ($layer IS NULL OR renders.layer = $layer)
  AND ($recipe IS NULL OR renders.recipe = $recipe)
ORDER BY renders.ratio DESC NULLS LAST, layers.ordinal, renders.unit, renders.recipe,
    renders.objective, renders.facet, renders.seed
LIMIT $n
