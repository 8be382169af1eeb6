"""Priors: generators whose codes are optimised, loaded from files or trained on an index.

Goes in: a checkpoint, a factory, or the images of an index. Comes out: `Prior`.
Imports: passes, pixels, tensor_files, training.
"""
