"""Which modules of a network are probed, the shape of their units, and their receptive fields.

Goes in: a network and glob patterns. Comes out: a tuple of `Layer`.
May import: networks, data, images, store, config and below.
"""
