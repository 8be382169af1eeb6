"""Import and call the user's functions, given as `package.module:function`."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.errors import MaxactError

__all__ = ["call_factory", "describe_failure", "find_factory", "is_users_module"]

MAX_REASON = 300
"""Characters of a user's message that are repeated in ours."""

OURS = Path(__file__).resolve().parents[1]
LIBRARIES = tuple(
    Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
"""Where the interpreter's and the installed packages' code is, which is not the user's."""


def find_factory(
    name: str, *, what: str, missing: type[MaxactError], failed: type[MaxactError], hint: str
) -> Callable[..., Any]:
    """Import a function by `package.module:function` or `path/to/file.py:function`.

    Args:
        name: modules are also searched in the current folder.
        what: purpose of the function, the start of an error message.
        missing: type of error if there is no such module or function.
        failed: type of error if the module raises one while it is imported.
        hint: advice at the end of an error message.

    Raises:
        MaxactError: of these types.
    """
    place, _, attribute = name.rpartition(":")
    try:
        module = _import_module(place)
    except (KeyboardInterrupt, MemoryError):
        raise
    except (Exception, SystemExit) as reason:
        # Importing runs the user's code, which may raise anything.
        if _is_missing(reason, place):
            raise missing(f"{what}: cannot import {place!r}: {reason}; {hint}") from reason
        raise failed(describe_failure(reason, f"{what}: cannot import {place!r}")) from reason
    factory: Callable[..., Any] | None = getattr(module, attribute, None)
    if factory is None or not callable(factory):
        raise missing(f"{what}: {place} has no function {attribute!r}; {hint}")
    return factory


def call_factory(factory: Callable[[], Any], name: str, *, what: str, failed: type[MaxactError]) -> Any:
    """Call a user's function without arguments.

    Args:
        factory: of `find_factory`.
        name: as the user wrote it.
        what: purpose of the function, for the error message.
        failed: type of error to raise.

    Raises:
        MaxactError: of that type, in one line with the place in the user's code, whatever it raised.
    """
    try:
        return factory()
    except (KeyboardInterrupt, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise failed(describe_failure(error, f"{what} {name}")) from error


def describe_failure(error: BaseException, what: str) -> str:
    """One line on what a user's code raised: `my_net.py:17: in make: ValueError: ... (what)`.

    Args:
        error: as caught.
        what: was being done, in a few words.
    """
    reason = " ".join(str(error).split())
    reason = f"{reason[:MAX_REASON]}..." if len(reason) > MAX_REASON else reason
    kind = type(error).__name__
    said = f"{kind}: {reason}" if reason else kind
    place = _place(error)
    return f"{place}: {said} ({what})" if place else f"{what}: {said}"


def _place(error: BaseException) -> str:
    """File, line and function of the last step in the user's own code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(Path(error.filename))}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(Path(frame.filename))]
    if not frames:
        return ""
    last = frames[-1]
    inside = "" if last.name == "<module>" else f": in {last.name}"
    return f"{_short(Path(last.filename))}:{last.lineno}{inside}"


def _is_users(path: Path) -> bool:
    """Whether a file is neither maxact's nor an installed package's."""
    if path.name.startswith("<"):
        return False
    resolved = path.resolve()
    return not any(resolved.is_relative_to(folder) for folder in (OURS, OURS.parent / "viz", *LIBRARIES))


def is_users_module(module: ModuleType) -> bool:
    """Whether a module is neither maxact's nor an installed package's nor the program that runs."""
    file = getattr(module, "__file__", None)
    if not file or module.__name__ in ("__main__", "__mp_main__"):
        return False
    return _is_users_file(file)


@functools.cache
def _is_users_file(file: str) -> bool:
    return _is_users(Path(file))


def _short(path: Path) -> Path:
    """A path as one in the current folder, where it is."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _is_missing(error: BaseException, place: str) -> bool:
    """Whether the module itself does not exist, rather than one that it imports."""
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        return place == error.name or place.startswith(f"{error.name}.")
    return isinstance(error, _NoModule)


class _NoModule(ImportError):
    """What was given is neither a Python file nor the name of a module."""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with a null byte
        return False


def _import_module(place: str) -> ModuleType:
    """Import a module by dotted name, also from the current folder, or by file path."""
    if not place.endswith(".py"):
        if not all(part.isidentifier() for part in place.split(".")):
            raise _NoModule(f"{place!r} is not the name of a module")
        if str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))
        return importlib.import_module(place)
    path = Path(place)
    if not _is_file(path):
        raise _NoModule(f"there is no Python file {place}")
    unique = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"{path.stem}_{unique}", path)
    if spec is None or spec.loader is None:
        raise _NoModule(f"there is no Python file {place}")
    module = importlib.util.module_from_spec(spec)
    # torch.compile and pickle look a function's module up by name.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module
