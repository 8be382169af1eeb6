"""What can go wrong while a command runs, and what the file layer is told to make it happen."""

from __future__ import annotations

import errno
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["CLASSES", "KINDS", "Arming", "Fault", "Kind", "arm"]

Kind = Literal[
    "kill", "term", "int", "stop", "full", "readonly", "eio", "short", "descriptors", "clock", "power"
]

KINDS: tuple[Kind, ...] = get_args(Kind)

READS, WRITES, SYNCS, CREATES, CHANGES = CLASSES = (1, 2, 4, 8, 16)
"""Classes of calls: reading (and opening for it); writing; `fsync`; creating files and folders or opening
them for writing; renaming and removing. As in `shim.c`."""

ALL = sum(CLASSES)

STRUCK: Mapping[Kind, int] = {
    "full": WRITES | CREATES,
    "readonly": WRITES | CREATES | CHANGES,
    "power": WRITES | CREATES | CHANGES | SYNCS,
}
"""The classes of calls that a fault can happen at; all for kinds that are not here."""

SIGNALS: Mapping[Kind, signal.Signals] = {
    "kill": signal.SIGKILL,
    "term": signal.SIGTERM,
    "int": signal.SIGINT,
    "stop": signal.SIGSTOP,
    "power": signal.SIGKILL,
}

ERRORS: Mapping[Kind, int] = {"full": errno.ENOSPC, "readonly": errno.EROFS, "eio": errno.EIO}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Args:
        kind: `kill`, `term`, `int`, `stop`: a signal (`stop` is followed by SIGCONT); `full`: ENOSPC;
            `readonly`: EROFS; `eio`: EIO; `short`: every read and write transfers about half of what was
            asked; `descriptors`: no more open files than `amount`; `clock`: it jumps back by `amount`
            seconds; `power`: SIGKILL, and what was not synced is lost.
        moment: when, as a share (0..1) of the calls that the undisturbed command makes.
        timed: whether `moment` is a share of its duration instead; for signals.
        stays: whether an error remains, or strikes one call only.
        amount: see above.
    """

    kind: Kind
    moment: float = 0.0
    timed: bool = False
    stays: bool = True
    amount: int = 0

    @property
    def signal(self) -> signal.Signals | None:
        """The signal that it sends."""
        return SIGNALS.get(self.kind)


@dataclass(frozen=True, slots=True)
class Arming:
    """What the file layer is told: the arguments of `fault_arm` after the folder, and the limit of files."""

    values: tuple[int, ...]
    descriptors: int = 0
    journal: bool = False


NOTHING = Arming((0,) * 7)
"""Nothing fails."""


def arm(fault: Fault | None, calls: Mapping[int, int]) -> Arming:
    """What the file layer must be told for a fault.

    Args:
        fault: None for none.
        calls: of each class, that the undisturbed command makes.
    """
    if fault is None:
        return NOTHING
    struck = STRUCK.get(fault.kind, ALL)
    total = sum(count for each, count in calls.items() if each & struck)
    number = 1 + int(fault.moment * total)
    if fault.kind == "short":
        return Arming((0, 0, 0, 0, 0, 1, 0))
    if fault.kind == "descriptors":
        return Arming((0,) * 7, descriptors=fault.amount)
    if fault.kind == "clock":
        return Arming((struck, number, 0, 0, 0, 0, fault.amount))
    if fault.kind in ERRORS:
        return Arming((struck, number, 0, ERRORS[fault.kind], int(fault.stays), 0, 0))
    sent = 0 if fault.timed else int(SIGNALS[fault.kind])
    return Arming((struck, number, sent, 0, 0, 0, 0), journal=fault.kind == "power")
