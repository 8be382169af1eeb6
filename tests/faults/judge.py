"""Runs a case and compares what is left with what the undisturbed command leaves.

After a fault, a command has either done what it would have done, or it ended with one line and an exit
code other than 0 (killed by a signal, without a word), and running it again does it.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.faults.faults import Fault
from tests.faults.harness import Run
from tests.faults.plan import Case
from tests.faults.power import lose_power
from tests.faults.scenarios import COMMANDS, Lab
from tests.faults.snapshot import differences, snapshot

__all__ = ["Judge", "Verdict"]

LAST = re.compile(r"(error: .+|stopped; finished work is kept.*|Aborted!?)")
"""The last line of a command that failed."""

WHOLE = frozenset({"fresh", "merge"})
"""Commands that replace what is there."""

NOTHING = Run((), 0, "", "", 0.0)
"""No command."""

STOPPED = 130
"""Exit code after SIGINT and SIGTERM."""


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What a command does without a fault."""

    code: int
    seconds: float
    calls: Mapping[int, int]
    files: dict[str, str]
    stdout: str


@dataclass(slots=True)
class Verdict:
    """What a case has shown: `violations` is empty if all is well."""

    case: Case
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Judge:
    """Runs cases in a lab; what commands do undisturbed is found once.

    Args:
        lab: with the folders.
        commands: words of command lines by name, beside those of `scenarios.COMMANDS`.
    """

    def __init__(self, lab: Lab, commands: Mapping[str, str] | None = None) -> None:
        self.lab = lab
        self.commands = {**COMMANDS, **(commands or {})}
        self._known: dict[tuple[str, ...], Undisturbed] = {}

    def undisturbed(self, state: str, *commands: str) -> Undisturbed:
        """What these commands leave one after another; the rest is about the last one."""
        key = (state, *commands)
        if key not in self._known:
            self.lab.reset(state)
            runs = [self.lab.run(self.commands[command]) for command in commands] or [NOTHING]
            run, found = runs[-1], snapshot(self.lab.out)
            self._known[key] = Undisturbed(run.code, run.seconds, run.calls, found, run.stdout)
        return self._known[key]

    def judge(self, case: Case) -> Verdict:
        """Run a case."""
        verdict = Verdict(case)
        if case.second is None:
            self._disturb(case, verdict)
        else:
            self._run_both(case, case.second, verdict)
        verdict.violations += [f"outside OUT: {line}" for line in self.lab.changed_inputs()]
        if verdict.violations:
            verdict.notes.append(f"the folder is {self.lab.keep(f'seed-{case.seed}')}")
        return verdict

    def _disturb(self, case: Case, verdict: Verdict) -> None:
        expected = self.undisturbed(case.state, case.command)
        self.lab.reset(case.state)
        run = self.lab.harness.run(
            self.commands[case.command].split(),
            root=self.lab.here,
            fault=case.fault,
            calls=expected.calls,
            seconds=expected.seconds,
        )
        verdict.notes.append(_describe(case.command, run))
        verdict.violations += _wrong_end(run, case.fault, expected.code)
        if run.journal is not None:
            verdict.notes += lose_power(self.lab.here, run.journal, random.Random(f"power {case.seed}"))
        elif run.code == expected.code:
            found = differences(snapshot(self.lab.out), expected.files)
            verdict.violations += [f"after the fault: {line}" for line in found]
            same = run.stdout == expected.stdout or _has_times(run.stdout) or _was_mended(case, run.stdout)
            if not same:
                verdict.violations.append(f"it printed {run.stdout[-300:]!r}, not {expected.stdout[-300:]!r}")
            return
        self._run_again(case, verdict)

    def _run_both(self, case: Case, second: str, verdict: Verdict) -> None:
        expected = self.undisturbed(case.state, case.command)
        other = self.undisturbed(case.state, second)
        self.lab.reset(case.state)
        harness, here = self.lab.harness, self.lab.here
        started = harness.start(self.commands[case.command].split(), root=here)
        time.sleep(case.delay * expected.seconds)
        later = harness.start(self.commands[second].split(), root=here)
        runs = harness.wait(started), harness.wait(later)
        for name, run in zip((case.command, second), runs, strict=True):
            verdict.notes.append(_describe(name, run))
            verdict.violations += [f"{name}: {line}" for line in _wrong_end(run, None, 0)]
        if [run.code for run in runs] == [expected.code, other.code] == [0, 0] and not differences(
            snapshot(self.lab.out), self._after(case)
        ):
            return
        self._run_again(case, verdict)

    def _run_again(self, case: Case, verdict: Verdict) -> None:
        commands = (case.command, case.second) if case.second else (case.command,)
        for command in commands:
            run = self.lab.run(self.commands[command])
            expected = self.undisturbed(case.state, *commands[: 1 + commands.index(command)])
            if run.code != expected.code:
                verdict.violations.append(f"run again, expected {expected.code}: {_describe(command, run)}")
        found = differences(snapshot(self.lab.out), self._after(case))
        verdict.violations += [f"run again: {line}" for line in found]

    def _after(self, case: Case) -> dict[str, str]:
        """What a case's commands leave when they run undisturbed."""
        if case.second is None:
            return self.undisturbed(case.state, case.command).files
        if case.state == "complete" and case.command not in WHOLE:
            # Each changes files of its own: running them one after another would show the same.
            first, second = (self.undisturbed(case.state, each).files for each in (case.command, case.second))
            before = self.undisturbed(case.state).files
            return first | {name: digest for name, digest in second.items() if before.get(name) != digest}
        return self.undisturbed(case.state, case.command, case.second).files


def _describe(command: str, run: Run) -> str:
    return f"{command} ended with {run.code}: {run.stderr.strip()[-1200:]}"


def _wrong_end(run: Run, fault: Fault | None, expected: int) -> list[str]:
    """What is wrong with how a command ended."""
    lines = [line for line in run.stderr.splitlines() if line.strip()]
    if "Traceback (most recent call last)" in run.stderr or "terminate called" in run.stderr:
        return [f"a traceback: {lines[-1]}"]
    if run.code == expected or run.code == 0:
        return []
    if run.code < 0:
        sent = fault is not None and fault.signal is not None and run.code == -fault.signal
        return [] if sent else [f"it was killed by signal {-run.code}"]
    errors = [line for line in lines if line.startswith("error: ")]
    if len(errors) > 1:
        return [f"{len(errors)} lines of errors: {errors}"]
    if run.code == STOPPED and not lines:
        return []  # the signal came before the command had begun
    if not lines or not LAST.match(lines[-1]):
        return [f"it ended with {run.code} and the last line {lines[-1:]}"]
    return []


def _was_mended(case: Case, printed: str) -> bool:
    """Whether a table could not be read at one moment, and `repair` says that it made it again."""
    return case.command == "repair" and case.fault is not None and "cannot be read (" in printed


def _has_times(text: str) -> bool:
    """Whether what a command prints contains its duration."""
    return re.search(r"\d:\d\d", text) is not None
