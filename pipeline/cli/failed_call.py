"""Describes an error of the operating system that nothing else has described."""

from __future__ import annotations

import errno

__all__ = ["failed_call"]


def failed_call(error: BaseException) -> str:
    """Describe an error in one line if the operating system raised it; an empty string if not.

    Args:
        error: as caught.
    """
    if not isinstance(error, OSError) or isinstance(error, BrokenPipeError):
        return ""
    where = "" if error.filename is None else f" ({error.filename})"
    if error.errno == errno.ENAMETOOLONG:
        return f"the name is too long{where}"
    return (
        f"{error.strerror or error or type(error).__name__}{where}; what was finished is kept. Run the same "
        "command again once the cause is removed"
    )
