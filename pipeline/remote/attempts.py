"""Requests that fail are repeated if the reason may pass; every other failure becomes one line.

Pauses double and are drawn at random from their upper half, so that machines that were refused at the same
time do not come back at the same time (Brooker 2015, Exponential backoff and jitter, AWS Architecture Blog).
"""

from __future__ import annotations

import errno
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pipeline.data.retry import describe, is_transient
from pipeline.errors import MaxactError, StoreError, UnreadableFile, WrongFolder

__all__ = ["FIRST_PAUSE_S", "LONGEST_PAUSE_S", "TRIES", "attempt", "ends_with"]

T = TypeVar("T")

_thread = threading.local()

TRIES = 6
"""Attempts before a request counts as failed; the libraries below repeat some by themselves."""

FIRST_PAUSE_S = 0.5
"""Longest pause in seconds before the second attempt; doubled before each further one."""

LONGEST_PAUSE_S = 20.0
"""Bound of the pauses in seconds."""

_LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of this machine's disk, which do not pass with time."""

_LASTING = (errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENAMETOOLONG)
"""Errors by which fsspec's file systems report a request that is refused for good."""

_PASSING = (
    "BadDigest",
    "IncompleteBody",
    "RequestTimeout",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
)
"""What S3 answers, with a status of 400, to a request that was cut or changed on its way
(https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html)."""

_NO_BUCKET = re.compile(r"NoSuchBucket|(bucket|container)\b.* (does|did|do)( not|n't) exist", re.IGNORECASE)
"""What the storage says when not only an object is missing."""

_DENIED = "; check the credentials of this machine and what they permit"

_AGAIN = "run the same command again when the storage answers, which goes on after what is stored"


@contextmanager
def ends_with(stop: threading.Event) -> Iterator[None]:
    """While the context is open, requests of this thread are not tried again once `stop` is set."""
    _thread.stop = stop
    try:
        yield
    finally:
        _thread.stop = None


def attempt(action: Callable[[], T], what: str, *, verb: str) -> T:
    """Call `action` until it succeeds, at most `TRIES` times.

    Args:
        action: one request; called again after a failure that may pass.
        what: the address, for messages.
        verb: what is done with it: `read`, `written`, `listed`, `removed`.

    Raises:
        FileNotFoundError: when there is no such object.
        StoreError: when the last attempt fails, or the failure does not pass.
    """
    for number in range(1, TRIES + 1):
        try:
            return action()
        except (MaxactError, MemoryError):
            raise
        except Exception as error:
            if not _may_pass(error):
                raise _lasting(error, what, verb) from error
            if number == TRIES:
                raise UnreadableFile(
                    f"{what} cannot be {verb}, tried {TRIES} times: {describe(error)}; {_AGAIN}"
                ) from error
            pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (number - 1))
            pause *= 0.5 + secrets.randbelow(1 << 20) / (1 << 21)
            stop = getattr(_thread, "stop", None)
            if stop is None:
                time.sleep(pause)
            elif stop.wait(pause):
                raise UnreadableFile(f"{what} cannot be {verb}: {describe(error)}; {_AGAIN}") from error
    raise AssertionError("unreachable")


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, OSError) and error.errno in _LOCAL:
        return False
    answer = _answer(error)
    if answer is not None:
        code, status = answer
        return code in _PASSING or status >= 500 or status in (408, 409, 425, 429)
    return not (isinstance(error, OSError) and error.errno in _LASTING) and is_transient(error)


def _answer(error: BaseException) -> tuple[str, int] | None:
    """Code and HTTP status of an answer of the storage that an error, or what caused it, is made of."""
    for each in filter(None, (error, error.__cause__)):
        response = getattr(each, "response", None)
        if isinstance(response, dict):  # of botocore
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if isinstance(status, int):
                return str(response.get("Error", {}).get("Code", "")), status
        if type(each).__module__.startswith("gcsfs") and str(getattr(each, "code", "")).isdecimal():
            return "", int(each.code)  # type: ignore[attr-defined]
    return None


def _lasting(error: Exception, what: str, verb: str) -> Exception:
    """What to raise for a failure that does not pass."""
    name = type(error).__name__
    said = describe(error)
    if isinstance(error, PermissionError) or "credential" in f"{name} {said}".lower():
        return StoreError(f"{what} cannot be {verb}: {said.rstrip('.')}{_DENIED}")
    if isinstance(error, FileNotFoundError):
        if _NO_BUCKET.search(said):
            return WrongFolder(
                f"{what} cannot be {verb}: {said.rstrip('.')}; give a bucket that exists, maxact creates none"
            )
        return error
    if isinstance(error, OSError) and error.errno in _LOCAL:
        return StoreError(
            f"{what} cannot be {verb}: {error.strerror}; free some space on this machine ({said})"
        )
    return StoreError(f"{what} cannot be {verb}: {said}")
