"""Recognises an error that means that memory ran out, whichever library raised it."""

from __future__ import annotations

import errno

__all__ = ["out_of_memory"]

SIGNS = (
    "allocate memory",
    "bad alloc",
    "bad_alloc",
    "can't start new thread",
    "failed to map segment",
    "not enough memory",
    "out of memory",
)
"""What libraries say that have no exception of their own for it: torch, the dynamic loader, threads."""


def out_of_memory(error: BaseException) -> str:
    """Describe an error in one line if memory ran out; an empty string if it is another error.

    Args:
        error: as caught; what it was raised from counts too.
    """
    cause: BaseException | None = error
    while cause is not None:
        if _is_one(cause):
            reason = " ".join(str(cause).split()) or type(cause).__name__
            return (
                f"out of memory ({reason}); what was finished is kept. Use a smaller --batch-size or fewer "
                "--workers where the command has them, or allow the process more memory (ulimit -v)"
            )
        cause = cause.__cause__ or cause.__context__
    return ""


def _is_one(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "OutOfMemoryException"):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError | ImportError | OSError) and any(sign in said for sign in SIGNS)
