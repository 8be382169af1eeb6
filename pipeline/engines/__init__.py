"""Engines: `pipeline.stream.loop.index_shards` mapped over groups of shards, each group's part committed.

Goes in: a configuration and groups of shards. Comes out: committed parts in `OUT/parts/`.
Imports: config, data, layers, networks, progress, state, stream.
"""
