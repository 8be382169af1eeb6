"""Functions of the user's own, named on the command line: `package.module:function`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.errors import MaxactError

__all__ = ["find_factory"]


def find_factory(name: str, *, what: str, error: type[MaxactError], hint: str) -> Callable[..., Any]:
    """A function by `package.module:function` or `path/to/file.py:function`.

    Args:
        name: modules may also lie in the current folder.
        what: what the function is for, at the start of a message.
        error: the type to raise.
        hint: what to give instead, at the end of a message.

    Raises:
        MaxactError: of that type, when the module cannot be imported or has no such function.
    """
    place, _, attribute = name.rpartition(":")
    try:
        module = _import_module(place)
    except Exception as reason:
        # It runs code that we do not know: whatever it raises is its own, and is named.
        kind = "" if isinstance(reason, ImportError) else f"{type(reason).__name__}: "
        raise error(f"{what}: cannot import {place!r}: {kind}{reason}; {hint}") from reason
    factory: Callable[..., Any] | None = getattr(module, attribute, None)
    if factory is None or not callable(factory):
        raise error(f"{what}: {place} has no function {attribute!r}; {hint}")
    return factory


def _import_module(place: str) -> ModuleType:
    """A module by dotted name, importable from the current folder too, or by file path."""
    if not place.endswith(".py"):
        if str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))
        return importlib.import_module(place)
    path = Path(place)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError(f"{place} is not a Python file that exists")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
