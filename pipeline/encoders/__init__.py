"""Dual encoders: models that embed images and texts in one space, of libraries or the user's own.

Goes in: the name a user gives, images and texts. Comes out: embeddings of length 1, checked.
Imports: choices, devices, errors, networks, vision_libraries.
"""
