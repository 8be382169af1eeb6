"""Repeats reads that fail for a transient reason, with growing pauses.

So that an interrupted connection is not taken for a bad image or a damaged shard.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from pipeline.errors import MissingSource, SourceError

__all__ = ["TRANSIENT", "describe", "is_transient", "retrying"]

T = TypeVar("T")

TRIES = 5
"""Attempts to read before it counts as failed."""

FIRST_PAUSE_S = 0.5
"""Seconds before the second attempt; doubled before each further one."""

_SECRETS = re.compile(
    r"(://)[^/@\s]+@"
    r"|((?:X-Amz-[\w-]+|Signature|AWSAccessKeyId|sig|token|access_token|password|secret)=)[^&\s'\"]+"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b",
    re.IGNORECASE,
)
"""What a message of a library may hold of credentials: users in addresses, signatures, key names."""

PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Failures that do not pass with time."""

RETRIED_STATUS = (408, 425, 429)
"""Transient HTTP client errors; all of 5xx are transient too."""

TRANSIENT: Mapping[str, tuple[str, ...]] = {
    "aiohttp": ("ClientConnectionError", "ClientPayloadError"),
    "asyncio": ("IncompleteReadError",),
    "botocore.exceptions": (
        "ConnectionClosedError",
        "ConnectionError",
        "IncompleteReadError",
        "ReadTimeoutError",
        "ResponseStreamingError",
    ),
    "http.client": ("IncompleteRead",),
    "urllib3.exceptions": ("ProtocolError", "TimeoutError"),
}
"""Transient errors that need not be an `OSError`, by module. Only modules that are imported already
are looked at: an error of another one cannot have been raised."""


def describe(error: BaseException) -> str:
    """An error of a library on one line, without credentials."""
    cause = error.__cause__ or error
    text = " ".join(str(cause).split()) or " ".join(str(error).split()) or type(cause).__name__
    return _SECRETS.sub(lambda match: f"{match[1] or match[2] or ''}...{'@' if match[1] else ''}", text)


def is_transient(error: BaseException) -> bool:
    """Whether another attempt may succeed."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return status >= 500 or status in RETRIED_STATUS
    if isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        return is_transient(error.__cause__)  # fsspec reports any failed HEAD as FileNotFoundError
    if isinstance(error, PERMANENT):
        return False
    return isinstance(error, (OSError, *_transient_types()))


def _transient_types() -> tuple[type[BaseException], ...]:
    return tuple(
        getattr(sys.modules[module], name)
        for module, names in TRANSIENT.items()
        if module in sys.modules
        for name in names
    )


def retrying(action: Callable[[], T], what: str) -> T:
    """Call `action` until it succeeds, at most `TRIES` times.

    Args:
        action: reads something; called again after a transient failure.
        what: what is being read, for the message.

    Raises:
        SourceError: when the last attempt fails, or a failure is not transient.
    """
    for attempt in range(1, TRIES + 1):
        try:
            return action()
        except (SourceError, MemoryError):
            raise
        except Exception as error:
            reason = describe(error)
            if isinstance(error, FileNotFoundError) and not is_transient(error):
                raise MissingSource(f"{what} does not exist") from error
            if not is_transient(error):
                raise SourceError(f"{what} cannot be read: {reason}") from error
            if attempt == TRIES:
                raise SourceError(
                    f"{what} cannot be read, tried {TRIES} times: {reason}; run the same command "
                    "again when the storage answers"
                ) from error
            time.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
    raise AssertionError("unreachable")
