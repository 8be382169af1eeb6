"""Public names of a package: listed once, in its `__init__.pyi`, and imported when they are asked for.

Type checkers read the stub; at run time the same file says which module defines each name. So
importing the package imports none of those modules.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["PublicNames", "public_names", "read_stub"]


class PublicNames(NamedTuple):
    """What a package assigns to its `__getattr__`, `__dir__` and `__all__`."""

    find: Callable[[str], Any]
    listed: Callable[[], list[str]]
    public: list[str]


def read_stub(path: Path) -> dict[str, tuple[str, str]]:
    """The names that a stub gives out: each to a module and the name it has there.

    Args:
        path: a `.pyi` file of `from MODULE import NAME as NAME` lines; `from PACKAGE import *`
            takes over the names of a package that has such a stub too.
    """
    places: dict[str, tuple[str, str]] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if alias.name == "*":
                    names = import_module(node.module).__all__
                    places |= {name: (node.module, name) for name in names}
                else:
                    places[alias.asname or alias.name] = (node.module, alias.name)
    return places


def public_names(package: str, file: str) -> PublicNames:
    """The lazy names of a package.

    Args:
        package: its `__name__`.
        file: its `__file__`; the stub is beside it.
    """
    places = read_stub(Path(file).with_name("__init__.pyi"))
    names = sorted(name for name in places if not name.startswith("_"))

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, original = places[name]
        try:
            return getattr(import_module(module), original)
        except AttributeError:
            return import_module(f"{module}.{original}")

    return PublicNames(find, lambda: sorted(places), names)
