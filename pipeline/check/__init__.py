"""Whether an index is right: files compared with their digests, recorded images run again, and tables
compared with each other.

Goes in: an index. Comes out: a report of every difference found.
Imports: choices, errors, images, layers, networks, progress, query, state,
store, stream.
"""
