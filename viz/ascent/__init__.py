"""Gradient ascent: one loop, and the parts that it is made of.

A parametrisation turns values into pictures, random views show these to the network, a scorer and a
score term give scores and gradients, an optimiser moves the values. Nothing here mixes the images
of a batch, except for score terms that say so, and every draw comes from an image's own generator,
so that a rendering does not depend on what else is rendered beside it.

Goes in: an `Ascent`, a scorer, objectives. Comes out: pictures on 0..255 and traces of scores.
Imports: canvas, choices, objectives, passes, pixels, priors, tensor_files.
"""
