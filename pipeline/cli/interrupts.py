"""Ctrl-C and SIGTERM end a command with one line and exit code 130, wherever they arrive.

A signal raises KeyboardInterrupt, which libraries may turn into another error or swallow: one in the
middle of an import leaves a module half loaded. Once a signal has come, the command has been stopped,
whatever it ends with.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["STOPPED_CODE", "ends_by_signals", "say_stopped", "was_interrupted"]

STOPPED_CODE = 130

_received = threading.Event()
_said = threading.Event()


def was_interrupted() -> bool:
    """Whether a signal has asked this process to end."""
    return _received.is_set()


def say_stopped() -> None:
    """Write the line that an interrupted command ends with; once in a process that a signal ends."""
    if not _said.is_set():
        sys.stderr.write("\nstopped; finished work is kept: run the same command again to continue\n")
    if was_interrupted():
        _said.set()


@contextlib.contextmanager
def ends_by_signals() -> Iterator[None]:
    """Handle signals while the context is open; after one, end the process without its exit handlers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A shell's background job ignores Ctrl-C, and goes on doing so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    sys.unraisablehook = _drop_own
    try:
        yield
    finally:
        # Python restores the default handlers before it is gone: they would kill it without a word.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if was_interrupted():
            _end()


def _drop_own(lost: sys.UnraisableHookArgs) -> None:
    """Say nothing of an interruption that came in a finaliser: the work ends at its next step."""
    if not (was_interrupted() and issubclass(lost.exc_type, KeyboardInterrupt)):
        sys.__unraisablehook__(lost)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    _received.set()
    raise KeyboardInterrupt


def _end() -> None:
    """End with the exit code: Python itself would end with the signal, where it has seen one."""
    with contextlib.suppress(OSError, ValueError):
        say_stopped()
        sys.stderr.flush()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(STOPPED_CODE)
