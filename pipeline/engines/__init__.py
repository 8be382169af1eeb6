"""Engines: run `pipeline.stream.loop.index_shards` over groups of shards and commit each group's part.

Goes in: a configuration and groups of shards. Comes out: committed parts in `OUT/parts/`.
Imports: config, data, layers, networks, progress, state, store, stream.
"""
