"""Datasets of shards: stream encoded images in a fixed order, and read single images back by offset.

Goes in: a path, URL, brace pattern or `demo`. Comes out: `Dataset`, `Shard`, samples and bad samples.
Imports: errors, image_id, progress, vision_libraries.
"""
