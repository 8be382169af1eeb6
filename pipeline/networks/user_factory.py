"""Import the user's functions, given as `package.module:function`."""

from __future__ import annotations

import hashlib
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
    """Import a function by `package.module:function` or `path/to/file.py:function`.

    Args:
        name: modules are also searched in the current folder.
        what: purpose of the function, the start of an error message.
        error: type of error to raise.
        hint: advice at the end of an error message.

    Raises:
        MaxactError: of that type, if the module cannot be imported or has no such function.
    """
    place, _, attribute = name.rpartition(":")
    try:
        module = _import_module(place)
    except Exception as reason:
        # Importing runs the user's code, which may raise anything.
        kind = "" if isinstance(reason, ImportError) else f"{type(reason).__name__}: "
        raise error(f"{what}: cannot import {place!r}: {kind}{reason}; {hint}") from reason
    factory: Callable[..., Any] | None = getattr(module, attribute, None)
    if factory is None or not callable(factory):
        raise error(f"{what}: {place} has no function {attribute!r}; {hint}")
    return factory


def _import_module(place: str) -> ModuleType:
    """Import a module by dotted name, also from the current folder, or by file path."""
    if not place.endswith(".py"):
        if str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))
        return importlib.import_module(place)
    path = Path(place)
    unique = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"{path.stem}_{unique}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError(f"there is no Python file {place}")
    module = importlib.util.module_from_spec(spec)
    # torch.compile and pickle look a function's module up by name.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module
