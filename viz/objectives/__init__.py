"""What is maximised: points, channels, directions, logits, and sums of them.

Goes in: text or terms. Comes out: `Objective`.
Imports: nothing.
"""

from pipeline.lazy import public_names

__getattr__, __dir__, __all__ = public_names(__name__, __file__)
