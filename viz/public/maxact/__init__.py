"""maxact: what does each unit of an image network look for?

This package is the public API; `__init__.pyi` lists its names. Each is imported when it is asked
for, so that `import maxact` costs next to nothing.

It is installed as `maxact` beside `pipeline` and `viz`, which hold the code and have names that a
user's own module may have too.
"""

from importlib.util import find_spec
from pathlib import Path

__all__: list[str]


def _refuse_shadow(package: str, member: str) -> None:
    """Raise ImportError where another module is found under the name of a package of maxact.

    Args:
        package: the package's name.
        member: a file that maxact's own package has.
    """
    spec = find_spec(package)
    if spec is None:
        raise ImportError(f"maxact needs its package `{package}`, which is missing; install maxact again")
    folders = list(spec.submodule_search_locations or ())
    if any((Path(folder) / member).is_file() for folder in folders):
        return
    found = spec.origin or folders[0]
    raise ImportError(
        f"maxact needs its own package `{package}`, but Python finds {found} under that name; "
        "rename it, or start Python in another folder if that is why it is found"
    )


_refuse_shadow("pipeline", "lazy.py")
_refuse_shadow("viz", "seeds.py")

from pipeline.lazy import public_names  # noqa: E402  (after the check)

__getattr__, __dir__, __all__ = public_names(__name__, __file__)
