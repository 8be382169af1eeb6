"""Generators whose codes are optimised: loaded, or trained on an index.

Goes in: a checkpoint, a factory, or images of an index. Comes out: `Prior`.
Imports: passes, pixels, seeds.
"""
