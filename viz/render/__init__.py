"""Renders units of a layer into OUT: batches, files, measurements, the table.

Goes in: an index, a recipe, units. Comes out: pictures and rows of `renders.parquet`.
Imports: ascent, canvas, choices, inputs, objectives, passes, paths, pixels, planning, priors,
recipes, robust, seeds.
"""
