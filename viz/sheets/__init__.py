"""Contact sheets: renderings beside the patches of real images with the highest activations.

Goes in: an index and its renderings. Comes out: PNG and PDF pages.
Imports: choices, inputs, paths, recipes, render.
"""
