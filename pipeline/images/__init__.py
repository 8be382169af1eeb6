"""Decodes images to pixels in the network's geometry, and maps boxes back to the original.

Goes in: encoded bytes. Comes out: uint8 (3, height, width), byte and perceptual hashes, boxes.
Imports: choices, errors, vision_libraries.
"""
