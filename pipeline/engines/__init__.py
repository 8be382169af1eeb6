"""Engines map `pipeline.stream.loop.index_shards` over groups of shards and commit each group's part."""
