"""Find the part of the input and of every intermediate map that an objective needs.

Input: a network and an objective. Output: a `Canvas`.
Imports: canvas, objectives, passes.
"""
