"""The errors that maxact raises, and the exit code of each.

    MaxactError                 base class; exits with 1
    ├── UsageError              the call is wrong; exits with 2, and so does all that is marked (2)
    ├── SourceError             a dataset that cannot be read
    │   ├── MissingSource (2)   the call names data that does not exist, is empty or of another kind
    │   └── ShardError          one shard is damaged
    ├── BadImage                one sample cannot be used: it becomes a row in `errors`
    ├── TooManyBadImages        more bad images than `--max-bad-fraction` allows
    ├── NetworkError            a network that cannot be built, loaded or run
    │   ├── UnknownNetwork (2)  the call names a network or a factory that does not exist
    │   ├── WeightsError        weights that do not fit the architecture, or a damaged file of them
    │   │   └── MissingWeights (2)  the call names a file of weights that does not exist
    │   └── LayerError (2)      a layer that does not exist or cannot be probed
    ├── EncoderError            a dual encoder that cannot be loaded or run
    │   └── UnknownEncoder (2)  the call names an encoder or a factory that does not exist
    ├── DeviceError (2)         a device that this machine does not have
    ├── EngineError             a process, a node or a cluster that cannot do its work
    ├── ActivationError         NaN or infinity in an activation
    ├── StoreError              a table or an output folder that cannot be read or written
    │   ├── WrongFolder (2)     the call names a folder that does not exist or holds no index
    │   ├── FingerprintMismatch an output folder that holds another run
    │   ├── DamagedFile         a file of an index that is missing or is not as it was written
    │   ├── UnreadableFile      a file of an index that cannot be read for the moment
    │   └── UntrustedIndex      an index from elsewhere names code, an address or a file outside
    ├── QueryError (2)          an unknown query, SQL that does not run
    ├── QueryStopped            a query that reached its limit of time, memory or rows
    ├── AuditError              recorded images that can no longer be read for a check
    └── RenderError (2)         an objective, a recipe or an option that cannot be rendered
        ├── RenderingFailed     a generator, a photograph or top images that cannot be used
        └── RenderingStopped    a rendering that was ended before its last step

The rule: 2 means that the call must be typed differently, because something that it names does not
exist or a value is not allowed; whatever was found wrong in existing files, in the data or on the
machine exits with 1. A class has one exit code, that of `UsageError` if it is also one of these.

A message says what was wrong, what was found, what was expected, where, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pipeline.working_copies import shown

__all__ = [
    "ActivationError",
    "AuditError",
    "BadImage",
    "DamagedFile",
    "DeviceError",
    "EncoderError",
    "EngineError",
    "FingerprintMismatch",
    "LayerError",
    "MaxactError",
    "MissingSource",
    "MissingWeights",
    "NetworkError",
    "QueryError",
    "QueryStopped",
    "RenderError",
    "RenderingFailed",
    "RenderingStopped",
    "ShardError",
    "SourceError",
    "StoreError",
    "TooManyBadImages",
    "UnknownEncoder",
    "UnknownNetwork",
    "UnreadableFile",
    "UntrustedIndex",
    "UsageError",
    "WeightsError",
    "WrongFolder",
    "did_you_mean",
]


class MaxactError(Exception):
    """Base class of all errors; `exit_code` is the exit code of the command line."""

    exit_code = 1

    def __str__(self) -> str:
        """The message; an OUT at an address is named by it, not by the folder of its working copy."""
        return shown(super().__str__())


class UsageError(MaxactError):
    """A wrong call: an argument out of range, unknown, missing, or in conflict with another."""

    exit_code = 2


class SourceError(MaxactError):
    """A dataset that cannot be read."""


class MissingSource(SourceError, UsageError):
    """The call names data that does not exist, is empty or of another kind."""


class ShardError(SourceError):
    """A shard is damaged; the message starts with its name."""

    def __init__(self, shard: str, reason: str) -> None:
        super().__init__(f"shard {shard}: {reason}")
        self.shard = shard
        self.reason = reason

    def __reduce__(self) -> tuple[type[ShardError], tuple[str, str]]:
        return type(self), (self.shard, self.reason)


class BadImage(MaxactError):
    """One sample cannot be used; `kind` is a short stable word for the reason."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type[BadImage], tuple[str, str]]:
        return type(self), (self.kind, self.args[0])


class TooManyBadImages(MaxactError):
    """More bad images than `--max-bad-fraction` allows."""


class NetworkError(MaxactError):
    """A network that cannot be built, loaded or run."""


class UnknownNetwork(NetworkError, UsageError):
    """The call names a network or a factory that does not exist."""


class WeightsError(NetworkError):
    """Weights that do not fit the architecture, or a damaged file of them."""


class MissingWeights(WeightsError, UsageError):
    """The call names a file of weights that does not exist, or is no such file."""


class LayerError(NetworkError, UsageError):
    """A layer that does not exist or cannot be probed."""


class EncoderError(MaxactError):
    """A model that embeds images and texts, and cannot be loaded or run."""


class UnknownEncoder(EncoderError, UsageError):
    """The call names an encoder or a factory that does not exist."""


class DeviceError(UsageError):
    """A device that this machine does not have."""


class EngineError(MaxactError):
    """A process that ended, a node that does not fit the run, or a cluster that has no room for it."""


class ActivationError(MaxactError):
    """NaN or infinity in an activation."""


class StoreError(MaxactError):
    """A table or an output folder that cannot be read or written."""


class WrongFolder(StoreError, UsageError):
    """The call names a folder that does not exist, holds no index, or is none."""


class FingerprintMismatch(StoreError):
    """An output folder that holds another run."""


class DamagedFile(StoreError):
    """A file of an index that is missing or is not as it was written."""


class UnreadableFile(StoreError):
    """A file of an index cannot be read for the moment; it may be as it was written."""


class UntrustedIndex(StoreError):
    """An index that this user has not made names code, an address, or a file outside its folder."""


class QueryError(UsageError):
    """An unknown query, SQL that does not run."""


class QueryStopped(MaxactError):
    """A query that reached its limit of time, memory or rows."""


class AuditError(MaxactError):
    """Recorded images that can no longer be read for a check."""


class RenderError(UsageError):
    """An objective, a recipe or an option that cannot be rendered."""


class RenderingFailed(RenderError):
    """A generator, a photograph or top images from which nothing can be rendered."""

    exit_code = 1


class RenderingStopped(RenderError):
    """A rendering that was ended before its last step; nothing of it is kept."""

    exit_code = 1


def did_you_mean(word: str, known: Iterable[str], *, count: int = 3) -> str:
    """A hint such as `; did you mean 'blocks.4.2'?`, or an empty string when no known word is similar."""
    near = difflib.get_close_matches(word, sorted(set(known)), n=count, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
