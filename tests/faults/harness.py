"""Runs commands in children of a process that has imported everything, each with a fault of its own.

    with Harness(folder) as harness:
        run = harness.run(["top", "out", "blocks.1", "3"], root=folder, fault=Fault("eio", 0.5), calls=calls)

Linux only, and a C compiler is needed for the file layer.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.faults.faults import CLASSES, Fault, arm

__all__ = ["Harness", "Run", "Started", "backups_of", "build_layer", "why_not"]

ROOT = Path(__file__).parents[2]
SHIM = Path(__file__).parent / "shim.c"

LIMIT_S = 60.0
"""Seconds after which a command counts as hanging."""

STOPPED_S = 0.1
"""How long a stopped command stays so."""

COMPILERS = ("cc", "gcc", "clang")


def why_not() -> str:
    """The reason why this machine cannot run the harness; empty where it can."""
    if sys.platform != "linux":
        return "the file layer that injects faults is for Linux"
    if not any(map(shutil.which, COMPILERS)):
        return f"no C compiler ({', '.join(COMPILERS)}) to build the file layer that injects faults"
    return ""


def build_layer(folder: Path) -> Path:
    """Compile the file layer into a folder; returns the library."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)))
    library = folder / "shim.so"
    build = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIM), "-ldl"]
    subprocess.run(build, check=True)
    return library


@dataclass(frozen=True, slots=True)
class Run:
    """A command that has ended.

    Args:
        words: of its command line.
        code: exit code; negative for a signal.
        stdout, stderr: what it printed.
        seconds: how long it took.
        calls: that it made on files, by class; empty if it was killed.
        journal: of its changes of files, and where the files are kept that it replaced.
    """

    words: tuple[str, ...]
    code: int
    stdout: str
    stderr: str
    seconds: float
    calls: Mapping[int, int] = field(default_factory=dict)
    journal: Path | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """A command that runs."""

    child: int
    words: tuple[str, ...]
    files: Path
    since: float
    journal: Path | None = None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, number)

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return Path(f"/proc/{self.child}").exists()

    def is_stopped(self) -> bool:
        """Whether SIGSTOP has stopped it."""
        try:
            return Path(f"/proc/{self.child}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
        except OSError:
            return False


class Harness:
    """The process that forks commands.

    Args:
        folder: for the file layer, and what commands print.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        self._ended: dict[int, int] = {}
        self._received = b""

    def __enter__(self) -> Harness:
        self.folder.mkdir(parents=True, exist_ok=True)
        library = build_layer(self.folder)
        environment = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        environment["MAXACT_CACHE"] = "cache"  # in the folder that commands run in
        environment["PYTHONDONTWRITEBYTECODE"] = "1"  # of the network's code, which lies in that folder too
        self._log = open(self.folder / "zygote.log", "w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            cwd=ROOT,
            env={**environment, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "viz" / "public")))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        ready = self._answer(LIMIT_S)
        assert ready is not None
        assert ready["threads"] == 1, "a process with threads cannot be forked safely"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._requests.close()
        self._process.wait(LIMIT_S)
        self._answers.close()
        self._log.close()

    def start(
        self,
        words: Iterable[str | Path],
        *,
        root: Path,
        fault: Fault | None = None,
        calls: Mapping[int, int] | None = None,
    ) -> Started:
        """Start a command.

        Args:
            words: of the command line, after `maxact`.
            root: the folder it runs in; calls on files below it can fail.
            fault: that happens to it; signals at a share of its duration are for the caller to send.
            calls: that the undisturbed command makes, see `Run.calls`.
        """
        self._count += 1
        files = self.folder / f"run-{self._count}"
        arming = arm(fault, calls or {})
        journal = files.with_suffix(".journal") if arming.journal else None
        if journal is not None:
            backups_of(journal).mkdir()
        for end in ("out", "err"):
            Path(f"{files}.{end}").touch()  # it may be killed before it opens them
        request = {
            "words": [str(word) for word in words],
            "cwd": str(root),
            "root": str(root),
            "stdout": f"{files}.out",
            "stderr": f"{files}.err",
            "fault": arming.values,
            "classes": CLASSES,
            "descriptors": arming.descriptors,
            "journal": journal and {"file": str(journal), "backups": str(backups_of(journal))},
        }
        self._requests.write(json.dumps(request).encode() + b"\n")
        since = time.monotonic()
        while (answer := self._answer(LIMIT_S)) is not None and "started" not in answer:
            self._ended[answer["ended"]] = answer["code"]
        assert answer is not None
        return Started(answer["started"], tuple(request["words"]), files, since, journal)

    def wait(self, started: Started) -> Run:
        """Wait for a command to end; one that hangs is killed."""
        while started.child not in self._ended:
            answer = self._answer(max(0.1, started.since + LIMIT_S - time.monotonic()))
            if answer is None:
                started.send(signal.SIGKILL)
            else:
                self._ended[answer["ended"]] = answer["code"]
        seconds = time.monotonic() - started.since
        code = self._ended.pop(started.child)
        stdout, stderr = (
            Path(f"{started.files}.{end}").read_text("utf-8", "replace") for end in ("out", "err")
        )
        calls = Path(f"{started.files}.err.calls")
        counted = json.loads(calls.read_text()) if calls.exists() else {}
        return Run(
            started.words,
            code,
            stdout,
            stderr,
            seconds,
            {int(each): count for each, count in counted.items()},
            started.journal,
        )

    def run(
        self,
        words: Sequence[str | Path],
        *,
        root: Path,
        fault: Fault | None = None,
        calls: Mapping[int, int] | None = None,
        seconds: float = 0.0,
    ) -> Run:
        """Run a command with a fault to its end.

        Args:
            words, root, fault, calls: see `start`.
            seconds: duration of the undisturbed command.
        """
        started = self.start(words, root=root, fault=fault, calls=calls)
        if fault is not None and fault.signal is not None and fault.timed:
            time.sleep(fault.moment * seconds)
            started.send(fault.signal)
        if fault is not None and fault.kind == "stop":
            self.resume_when_stopped(started)
        return self.wait(started)

    def resume_when_stopped(self, started: Started) -> None:
        """Let a command go on a while after it was stopped; return at once if it ends before."""
        end = time.monotonic() + LIMIT_S
        while not started.is_stopped() and started.is_running() and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(STOPPED_S)
        started.send(signal.SIGCONT)

    def _answer(self, seconds: float) -> dict[str, Any] | None:
        """The next answer of the process; None if there is none in this time."""
        while b"\n" not in self._received:
            ready, _, _ = select.select([self._answers], [], [], seconds)
            if not ready:
                return None
            received = self._answers.read(1 << 16)
            if not received:
                raise RuntimeError(f"the zygote ended: {Path(self._log.name).read_text()[-2000:]}")
            self._received += received
        line, _, self._received = self._received.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer


def backups_of(journal: Path) -> Path:
    """The folder of the files that were replaced or removed."""
    return journal.with_suffix(".backups")
