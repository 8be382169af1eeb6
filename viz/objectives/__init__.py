"""What is maximised: points, channels, directions, logits, and sums of them.

Goes in: text or terms. Comes out: `Objective`.
Imports: nothing.
"""
