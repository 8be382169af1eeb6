"""Whether an index is right: its files compared with their digests, its tables with each other, its parts,
its dataset and its network.

Goes in: an index, and a network. Comes out: a report of every difference found.
Imports: choices, data, errors, image_id, images, layers, networks, progress, query, remote, runs, state,
store, stream.
"""
