"""The errors that maxact raises.

    MaxactError                 base class; the command line exits with 1
    ├── UsageError              an invalid argument or option; exits with 2
    ├── SourceError             a dataset is missing, empty or unreadable
    │   └── ShardError          one shard is damaged
    ├── BadImage                one sample cannot be used: it becomes a row in `errors`
    ├── TooManyBadImages        more bad images than `--max-bad-fraction` allows
    ├── NetworkError            an unknown network, or a factory that does not return one
    │   ├── WeightsError        weights that do not fit the architecture
    │   └── LayerError          a layer that does not exist or cannot be probed
    ├── DeviceError             a device that this machine does not have
    ├── ActivationError         NaN or infinity in an activation
    ├── StoreError              a table or an output folder that cannot be read or written
    │   ├── FingerprintMismatch an output folder that holds another run
    │   ├── DamagedFile         a file of an index that is missing or is not as it was written
    │   └── UntrustedIndex      an index from elsewhere names code, an address or a file outside
    ├── QueryError              an unknown query, a missing parameter, SQL that does not run
    ├── AuditError              recorded images that can no longer be read for a check
    └── RenderError             an objective, a recipe or an option that cannot be rendered

A message says what was wrong, what was found, what was expected, where, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ActivationError",
    "AuditError",
    "BadImage",
    "DamagedFile",
    "DeviceError",
    "FingerprintMismatch",
    "LayerError",
    "MaxactError",
    "NetworkError",
    "QueryError",
    "RenderError",
    "ShardError",
    "SourceError",
    "StoreError",
    "TooManyBadImages",
    "UntrustedIndex",
    "UsageError",
    "WeightsError",
    "did_you_mean",
]


class MaxactError(Exception):
    """Base class of all errors; `exit_code` is the exit code of the command line."""

    exit_code = 1


class UsageError(MaxactError):
    """An invalid argument: out of range, unknown, or in conflict with another."""

    exit_code = 2


class SourceError(MaxactError):
    """A dataset is missing, empty or unreadable."""


class ShardError(SourceError):
    """A shard is damaged; the message starts with its name."""

    def __init__(self, shard: str, reason: str) -> None:
        super().__init__(f"shard {shard}: {reason}")
        self.shard = shard
        self.reason = reason


class BadImage(MaxactError):
    """One sample cannot be used; `kind` is a short stable word for the reason."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class TooManyBadImages(MaxactError):
    """More bad images than `--max-bad-fraction` allows."""


class NetworkError(MaxactError):
    """An unknown network, or a factory that does not return one."""


class WeightsError(NetworkError):
    """Weights that do not fit the architecture."""


class LayerError(NetworkError):
    """A layer that does not exist or cannot be probed."""


class DeviceError(MaxactError):
    """A device that this machine does not have."""


class ActivationError(MaxactError):
    """NaN or infinity in an activation."""


class StoreError(MaxactError):
    """A table or an output folder that cannot be read or written."""


class FingerprintMismatch(StoreError):
    """An output folder that holds another run."""


class DamagedFile(StoreError):
    """A file of an index that is missing or is not as it was written."""


class UntrustedIndex(StoreError):
    """An index that this user has not made names code, an address, or a file outside its folder."""


class QueryError(MaxactError):
    """An unknown query, a missing parameter, SQL that does not run."""


class AuditError(MaxactError):
    """Recorded images that can no longer be read for a check."""


class RenderError(MaxactError):
    """An objective, a recipe or an option that cannot be rendered."""


def did_you_mean(word: str, known: Iterable[str], *, count: int = 3) -> str:
    """A hint such as `; did you mean 'blocks.4.2'?`, or an empty string when no known word is similar."""
    near = difflib.get_close_matches(word, sorted(set(known)), n=count, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
