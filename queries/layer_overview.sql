-- One row per layer: its shape, and statistics of its units on this dataset.
--
-- Parameters
-- Columns
--   layer                     name of the layer
--   kind                      map, map_last, tokens or vector
--   units                     number of units
--   grid                      positions: rows x columns
--   receptive_field           rows x columns of the input that one position sees, in pixels
--   never_active              number of units that are active in no image
--   active_fraction           median over units: share of images in which a unit is active
--   max                       median over units: highest peak
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
