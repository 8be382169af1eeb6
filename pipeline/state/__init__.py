"""What is kept of a stream of peaks: pure state with empty, update and merge, and its commits.

Goes in: blocks of peaks (image, unit) float32. Comes out: `Part`, written to and read from `parts/`.
Imports: errors, image_id, store.
"""
