"""Which modules of a network are probed, the shape of their units, and their receptive fields.

Goes in: a network and glob patterns. Comes out: a tuple of `Layer`.
Imports: choices, errors, images, networks, store.
"""
