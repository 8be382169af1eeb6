"""Read the answers of people that pages of `maxact study` saved."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.visible import visible
from viz.study.content import ANSWERS, VERSION

KINDS = ("trial", "practice", "catch")
SIDES = ("left", "right")
SURENESS = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one trial.

    Args:
        kind: `trial`, `practice` or `catch`.
        layer, unit: that was asked about.
        condition: a recipe, `real 4` or `none`; empty if it is no `trial`.
        pictures: reference pictures that were shown.
        right: whether it is right.
        confidence: 1 (a guess) to 3 (sure).
        seconds: from the pictures to the answer.
    """

    kind: str
    layer: str
    unit: int
    condition: str
    pictures: int
    right: bool
    confidence: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Participant:
    """The answers of one participant.

    Args:
        name: number or code.
        started: when, as the page wrote it.
        file: with the answers.
        study: what the page says of itself.
        answers: in the order of the trials.
    """

    name: str
    started: str
    file: Path
    study: Mapping[str, Any]
    answers: tuple[Answer, ...]

    def of_kind(self, kind: str) -> list[Answer]:
        """The answers of one kind."""
        return [answer for answer in self.answers if answer.kind == kind]


def read_answers(files: Sequence[Path]) -> list[Participant]:
    """Read the answers of several participants to one study.

    Raises:
        UsageError: for a file that cannot be read or holds something else, for answers to another
            study, and for the same answers twice.
    """
    people: list[Participant] = []
    for file in files:
        person = _read(file)
        for other in people:
            if other.study != person.study:
                raise UsageError(
                    f"{file} has answers to another study than {other.file}; score each study by itself"
                )
            if (other.name, other.started) == (person.name, person.started):
                raise UsageError(f"{file} has the same answers as {other.file}; give one of them")
        people.append(person)
    return people


def _read(file: Path) -> Participant:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is no JSON file; give what a page of `maxact study` saved") from error
    if not isinstance(found, dict) or found.get("format") != ANSWERS:
        raise UsageError(f"{file} has no answers to a study; give what a page of `maxact study` saved")
    if found.get("version") != VERSION:
        raise UsageError(f"{file} is of version {found.get('version')!r}, this maxact reads {VERSION}")
    try:
        return _participant(file, found)
    except _Wrong as error:
        raise UsageError(f"{file} was damaged or edited: {visible(str(error))}") from error


class _Wrong(Exception):
    """Something in the file is not what a page writes."""


def _participant(file: Path, found: Mapping[str, Any]) -> Participant:
    name, started = (_get(found, key, str) for key in ("participant", "started"))
    study, rows = _get(found, "study", dict), _get(found, "answers", list)
    conditions = _get(study, "conditions", list)
    answers = tuple(_answer(row, number, conditions) for number, row in enumerate(rows, 1))
    keys = [(each.layer, each.unit, each.condition) for each in answers if each.kind == "trial"]
    if not keys:
        raise _Wrong("it has no answered trials")
    if len(set(keys)) < len(keys):
        raise _Wrong("a unit is there twice in one condition")
    return Participant(name, started, file, study, answers)


def _answer(row: object, number: int, conditions: Sequence[object]) -> Answer:
    if not isinstance(row, dict):
        raise _Wrong(f"answer {number} is {row!r:.40}")
    kind, condition = _get(row, "kind", str), _get(row, "condition", str)
    correct, given = _get(row, "correct", str), _get(row, "answer", str)
    confidence, seconds = _get(row, "confidence", int), _get(row, "seconds", int, float)
    unit, pictures = _get(row, "unit", int), _get(row, "pictures", int)
    fine = (
        kind in KINDS
        and (condition in conditions if kind == "trial" else condition == "")
        and correct in SIDES
        and given in SIDES
        and confidence in SURENESS
        and math.isfinite(seconds)
        and min(seconds, unit, pictures) >= 0
    )
    if not fine:
        raise _Wrong(f"answer {number} has a value that no page writes")
    layer = _get(row, "layer", str)
    return Answer(kind, layer, unit, condition, pictures, given == correct, confidence, float(seconds))


def _get(values: Mapping[str, Any], key: str, *kinds: type) -> Any:
    value = values.get(key)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise _Wrong(f"{key} is {value!r:.40}")
    return value
