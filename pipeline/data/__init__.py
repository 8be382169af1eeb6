"""What a user names becomes a dataset: shards that give image bytes, in order, and again by offset.

Goes in: a path, URL, brace pattern or `demo`. Comes out: `Dataset`, `Shard`, samples and bad samples.
Imports: errors, image_id, progress, vision_libraries.
"""
