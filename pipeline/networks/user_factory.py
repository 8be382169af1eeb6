"""Import and call the user's functions, given as `package.module:function`.

Their code may raise anything, or end the process: `SystemExit` becomes an error like any other.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.errors import MaxactError

__all__ = ["call_factory", "find_factory"]


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
    except (Exception, SystemExit) as reason:
        raise error(f"{what}: cannot import {place!r}: {_describe(reason)}; {hint}") from reason
    factory: Callable[..., Any] | None = getattr(module, attribute, None)
    if factory is None or not callable(factory):
        raise error(f"{what}: {place} has no function {attribute!r}; {hint}")
    return factory


def call_factory(factory: Callable[..., Any], name: str, *, what: str, error: type[MaxactError]) -> Any:
    """Call a user's function without arguments.

    Args:
        factory: from `find_factory`.
        name: as the user wrote it.
        what: purpose of the function, the start of an error message.
        error: type of error to raise.

    Raises:
        MaxactError: of that type, when the function raises; with the place in the user's file.
    """
    try:
        return factory()
    except MaxactError:
        raise
    except (Exception, SystemExit) as reason:
        raise error(f"{what} {name} raised {_describe(reason)}") from reason


def _describe(reason: BaseException) -> str:
    """An exception on one line: its type, its message, and the file and line that raised it."""
    message = " ".join(str(reason).split())
    if isinstance(reason, ImportError):
        return message
    frames = traceback.extract_tb(reason.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith("<") and frame.filename != __file__]
    place = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
    if isinstance(reason, SyntaxError):
        place = f" ({reason.filename}:{reason.lineno})"
        message = str(reason.msg)
    return f"{type(reason).__name__}{f': {message}' if message else ''}{place}"


def _import_module(place: str) -> ModuleType:
    """Import a module by dotted name, also from the current folder, or by file path."""
    if not place.endswith(".py"):
        if str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))
        return importlib.import_module(place)
    path = Path(place)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError(f"there is no Python file {place}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
