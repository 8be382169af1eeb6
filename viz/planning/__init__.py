"""How much of the input and of every map on the way an objective needs.

Goes in: a network and an objective. Comes out: a `Canvas`.
Imports: canvas, objectives, passes.
"""
