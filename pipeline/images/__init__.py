"""Image bytes to pixels in the network's geometry, and where pixels came from.

Goes in: encoded bytes. Comes out: uint8 (3, height, width), byte and perceptual hashes, boxes.
Imports: choices, errors.
"""
