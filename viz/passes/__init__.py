"""A forward and a backward pass over part of a network: hooks, ReLU rules, faster operations.

Goes in: pictures and objectives. Comes out: scores and gradients.
Imports: canvas, choices, objectives.
"""
