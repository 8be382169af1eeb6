"""How much of the input and of every map on the way an objective needs.

Goes in: a network and an objective. Comes out: a `Canvas`. May import: passes and below.
"""
