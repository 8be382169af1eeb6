"""The state that indexing accumulates, with empty, update and merge, and parts committed to disk.

Goes in: blocks of peaks (image, unit) float32. Comes out: `Part`, written to and read from `parts/`.
Imports: errors, image_id, store, working_copies.
"""
