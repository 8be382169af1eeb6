"""Directions in a layer's channel space, found on the indexed dataset: PCA, NMF, k-means.

Goes in: an open index, its network, a layer. Comes out: a dictionary file whose features can be indexed as
units.
Imports: choices, devices, errors, indexed_pass, layers, networks, progress, query, store, stream.
"""
