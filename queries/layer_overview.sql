-- One row per layer: its shape, and how its units behave on this dataset.
--
-- Parameters
-- Columns
--   layer                     the layer's name
--   kind                      map, map_last, tokens or vector
--   units                     how many units it has
--   grid                      positions of a unit: rows x columns
--   receptive_field           what one position sees: rows x columns of the input, in pixels
--   never_active              units that are active in no image
--   active_fraction           median over units: the share of images in which a unit is active
--   max                       median over units: the highest peak
--   selectivity               median over units: class selectivity index
--   precision                 median over units: share of the majority label among the top images
SELECT
    layers.layer, layers.kind, layers.units,
    layers.grid_h || 'x' || layers.grid_w AS grid,
    layers.rf_h || 'x' || layers.rf_w AS receptive_field,
    count(*) FILTER (units.active_fraction = 0) AS never_active,
    median(units.active_fraction) AS active_fraction,
    median(units.max) AS max,
    median(units.selectivity) AS selectivity,
    median(units.precision) AS precision
FROM layers LEFT JOIN units USING (layer)
GROUP BY ALL
ORDER BY any_value(layers.ordinal)
