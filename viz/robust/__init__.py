"""Robust copies of networks: trained on an index so that small changes of a picture change no features.

Goes in: a network, the images of an index. Comes out: `RobustCopy`, for the recipe `robust`.
Imports: passes, seeds, tensor_files, training.
"""
