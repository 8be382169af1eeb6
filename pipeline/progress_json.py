"""Progress for programs: one JSON object a line.

{"event": "note", "text": "network efficientnet_lite0, ..."}
{"event": "progress", "task": "indexing", "done": 4096, "total": 50000, "unit": "images",
 "per_second": 812.4, "seconds": 5.1, "seconds_left": 56.5, "shards": 4, "nodes": 2, "retries": 0}
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

from pipeline.progress import LogTask, Task
from pipeline.working_copies import shown

__all__ = ["JsonReporter"]


def _write(stream: TextIO, record: dict[str, Any]) -> None:
    stream.write(f"{json.dumps(record)}\n")
    stream.flush()


@dataclass(slots=True)
class _JsonTask(LogTask):
    """Writes an object where a log has a line."""

    def write(self, now: float) -> None:
        """Write the object."""
        rate = self.rate(now)
        left = None if self.total is None or rate <= 0 else max(0, self.total - self.done) / rate
        record = {
            "event": "progress",
            "task": self.title,
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
            "per_second": round(rate, 3),
            "seconds": round(now - self.started, 3),
            "seconds_left": None if left is None else round(left, 3),
            **self.numbers,
        }
        _write(self.stream, record)


class JsonReporter:
    """Writes progress for programs: one JSON object a line.

    Args:
        stream: by default standard error.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream

    def note(self, text: str) -> None:
        """Write `{"event": "note", "text": ...}`."""
        _write(self.stream, {"event": "note", "text": shown(text)})

    @contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Iterator[Task]:
        """Write `{"event": "progress", ...}` until the context is left."""
        now = time.monotonic()
        task = _JsonTask(title, total, unit, self.stream, now, now)
        task.write(now)
        yield task
        task.write(time.monotonic())
