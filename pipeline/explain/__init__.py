"""Which units a photograph drives, compared with the images of an index.

Goes in: an open index, its network, and photographs. Comes out: for each photograph and layer the units
with the most unusual peaks, where in the photograph they are, and, for two classes, what pulls to each.
Imports: choices, data, devices, errors, images, layers, networks, progress, query, state, stream.
"""
