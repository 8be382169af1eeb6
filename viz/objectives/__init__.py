"""What is maximised: points, channels, directions, logits, and sums of them.

Goes in: text or terms. Comes out: `Objective`. May import: only the modules that lie in `viz` itself.
"""
