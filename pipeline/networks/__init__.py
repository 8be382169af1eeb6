"""Networks by name, file or factory: module, weights, preprocessing and class names.

Goes in: what the user types. Comes out: `Network`.
Imports: assignments, errors, images, vision_libraries.
"""
