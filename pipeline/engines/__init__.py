"""Engines map `pipeline.index.index_shards` over groups of shards and commit each group's part."""
