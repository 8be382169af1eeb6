"""Gradient ascent: from a batch of objectives to pictures and their traces.

Goes in: a scorer, a canvas, objectives, a recipe's options. Comes out: pictures on 0..255.
Imports: canvas, objectives, passes, pixels, priors, recipes.
"""
