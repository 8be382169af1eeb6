"""Render synthetic images of units, and draw them beside real ones.

`__init__.pyi` lists the names that most programs need; each is imported when it is asked for, so
that `import viz` costs next to nothing. Installed, the same names are in `maxact`.
"""

from pipeline.lazy import public_names
from pipeline.query.unit import Drawing, register_drawing


def _load_drawing() -> Drawing:
    from viz.notebook import drawing

    return drawing


register_drawing(_load_drawing)

__getattr__, __dir__, __all__ = public_names(__name__, __file__)
