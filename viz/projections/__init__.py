"""Projections of units back to the pixels of real images: deconvnet, guided, gradient, activation.

Goes in: an index and units. Comes out: a PNG page for each unit.
Imports: choices, inputs, objectives, passes, sheets.
"""
