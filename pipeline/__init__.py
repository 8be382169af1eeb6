"""Index a dataset through a network, and ask for any unit's top images.

`__init__.pyi` lists the names that most programs need; each is imported when it is asked for, so
that `import pipeline` costs next to nothing. Installed, the same names are in `maxact`.
"""

from pipeline.lazy import public_names

__getattr__, __dir__, __all__ = public_names(__name__, __file__)
