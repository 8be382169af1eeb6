"""What renderings draw on: top images, mean spectra and photographs, from an index or a user.

Goes in: a network, an index, files. Comes out: pictures in the network's geometry, and `Batch`.
Imports: ascent, canvas, choices, objectives, passes, pixels, planning, priors, robust, seeds,
tensor_files.
"""
