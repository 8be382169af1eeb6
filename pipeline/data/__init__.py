"""What a user names becomes a dataset: shards that give image bytes, in order, and again by offset.

Goes in: a path, URL, brace pattern or `demo`. Comes out: `Dataset`, `Shard`, samples and bad samples.
May import: images, store, config and below.
"""
