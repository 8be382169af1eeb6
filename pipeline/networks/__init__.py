"""Load networks by name, file or factory: module, weights, preprocessing and class names.

Input: the name a user gives. Output: a `Network`.
Imports: assignments, errors, images, store, vision_libraries.
"""
