"""Forward and backward passes through part of a network: hooks, ReLU rules, faster operations.

Input: pictures and objectives. Output: scores and gradients.
Imports: canvas, objectives, recipes.
"""
