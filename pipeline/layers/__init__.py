"""Choose the layers of a network to probe; find the shape of their units and their receptive fields.

Input: a network and glob patterns. Output: a tuple of `Layer`.
Imports: choices, errors, images, networks, store, visible.
"""
