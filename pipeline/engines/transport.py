"""Work as bytes that another process can open, and errors as values that come back.

Classes and functions of installed packages are sent by name. Those of a user's own modules, such as that of
`--network net.py:factory`, are sent as they are, because the other process may not have their files.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import cloudpickle

from pipeline.errors import EngineError, MaxactError
from pipeline.networks.user_factory import describe_failure, is_users_module
from pipeline.vision_libraries import prepare_torchvision
from pipeline.working_copies import shown

__all__ = ["pack", "portable_error", "unpack"]


def pack(value: object, what: str) -> bytes:
    """Pickle a value with the user's code that it needs.

    Args:
        value: to send.
        what: it is called in the error message.

    Raises:
        EngineError: when it cannot be pickled.
    """
    with _by_value():
        try:
            return bytes(cloudpickle.dumps(value, protocol=5))
        except (KeyboardInterrupt, MemoryError):
            raise
        except Exception as error:  # objects raise anything when they are pickled
            reason = " ".join(str(error).split()) or type(error).__name__
            raise EngineError(
                f"{what} cannot be sent to other processes: {reason}; use --engine local and one device"
            ) from error


def unpack(data: bytes) -> Any:
    """The value that `pack` packed."""
    prepare_torchvision()  # pickle imports it where a network is made of it, as any library would
    return pickle.loads(data)


def portable_error(error: Exception) -> MaxactError:
    """An error that can be sent back: itself if it can be pickled, else one with its message."""
    if isinstance(error, MaxactError):
        # What stands for an address in this process has another name, or none, in the one that shows it.
        error.args = tuple(shown(each) if isinstance(each, str) else each for each in error.args)
        with contextlib.suppress(Exception):  # of another library's subclass
            if str(pickle.loads(pickle.dumps(error))) == str(error):
                return error
        return EngineError(str(error))
    return EngineError(describe_failure(error, "in another process"))


@contextlib.contextmanager
def _by_value() -> Iterator[None]:
    """Pickle what is defined in a user's modules by value while the context is open."""
    registered = []
    for name, module in list(sys.modules.items()):
        if name == getattr(module, "__name__", None) and is_users_module(module):
            cloudpickle.register_pickle_by_value(module)
            registered.append(module)
    try:
        yield
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)
