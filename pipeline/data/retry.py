"""Reads that fail for a moment are repeated, with growing pauses.

A network that stutters is waited for and never mistaken for a bad image.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import SourceError

__all__ = ["is_transient", "retrying"]

T = TypeVar("T")

TRIES = 5
"""How often a read is tried before it counts as failed."""

FIRST_PAUSE_S = 0.5
"""Seconds before the second try; doubled before each further one."""

PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Failures that waiting does not mend."""

RETRIED_STATUS = (408, 425, 429)
"""HTTP client errors that mean `later`; all of 5xx do too."""


PASSING = ("Connect", "Timeout", "Disconnected", "Payload", "IncompleteRead", "Streaming")
"""Words in the names of aiohttp's, botocore's and urllib3's errors that mean `later`; others, such
as missing credentials, last."""


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return status >= 500 or status in RETRIED_STATUS
    if isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        return is_transient(error.__cause__)  # fsspec reports any failed HEAD as not found
    if isinstance(error, PERMANENT):
        return False
    if isinstance(error, OSError | TimeoutError):
        return True
    return any(word in type(error).__name__ for word in PASSING)


def retrying(action: Callable[[], T], what: str) -> T:
    """Run `action` until it works, at most `TRIES` times.

    Args:
        action: reads something; called again after a transient failure.
        what: what is being read, for the message.

    Raises:
        SourceError: when the last try failed as well, or the failure is a lasting one.
    """
    for attempt in range(1, TRIES + 1):
        try:
            return action()
        except SourceError:
            raise
        except Exception as error:
            cause = error.__cause__ or error
            reason = str(cause) or type(cause).__name__
            if isinstance(error, FileNotFoundError) and not is_transient(error):
                raise SourceError(f"{what} does not exist") from error
            if not is_transient(error):
                raise SourceError(f"{what} cannot be read: {reason}") from error
            if attempt == TRIES:
                raise SourceError(
                    f"{what} cannot be read, tried {TRIES} times: {reason}; run the same command "
                    "again when the storage answers"
                ) from error
            time.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
    raise AssertionError("unreachable")
