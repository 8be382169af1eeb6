"""Whether an index is right: recorded images run again, and tables compared with each other.

Goes in: an open index. Comes out: a report of every difference found.
Imports: choices, errors, images, layers, networks, progress, query, store, stream.
"""
