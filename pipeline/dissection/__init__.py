"""Network dissection: how well the activation maps of units cover what segmentation masks mark.

Goes in: an index, its network, and masks of its images. Comes out: for each unit and concept the numbers of
places that are active, marked, and both, in two halves of the images.
Imports: choices, data, devices, errors, images, indexed_pass, layers, naming, networks, progress, query,
state, stream.
"""
