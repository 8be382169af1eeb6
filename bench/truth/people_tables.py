"""Tables of the answers of people, with the rows of the judges' tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.truth.answers import interval
from bench.truth.people import Answer, Participant
from pipeline.visible import visible

HEADER = (
    "| explanation | pictures | units | answers | correct, % | {gain} | confidence | seconds |\n"
    "|---|---|---|---|---|---|---|---|"
)

PEOPLE_HEADER = (
    "| participant | explanation | answers | correct, % | confidence | seconds | catch trials |\n"
    "|---|---|---|---|---|---|---|"
)

Unit = tuple[str, int]
"""Layer and number."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The answers in one condition.

    Args:
        layer: name of the layer, or `all layers`.
        explanation: the condition.
        pictures: mean number of pictures of an answer.
        answers: number of answers.
        units: that were asked about.
        correct: for each unit, the share of right answers over participants.
        confidence: mean, from 1 (a guess) to 3 (sure).
        seconds: median time of an answer.
    """

    layer: str
    explanation: str
    pictures: float
    answers: int
    units: tuple[Unit, ...]
    correct: tuple[float, ...]
    confidence: float
    seconds: float


def score(layer: str, explanation: str, answers: Sequence[Answer]) -> Scored:
    """Score the answers in one condition; every unit has the same weight."""
    by_unit: dict[Unit, list[bool]] = {}
    for answer in answers:
        by_unit.setdefault((answer.layer, answer.unit), []).append(answer.right)
    units = tuple(sorted(by_unit))
    return Scored(
        layer,
        explanation,
        statistics.fmean(answer.pictures for answer in answers),
        len(answers),
        units,
        tuple(statistics.fmean(by_unit[unit]) for unit in units),
        statistics.fmean(answer.confidence for answer in answers),
        statistics.median(answer.seconds for answer in answers),
    )


def score_people(people: Sequence[Participant]) -> list[Scored]:
    """Score the answers of all participants, by layer and condition, and over all layers."""
    answers = [answer for person in people for answer in person.of_kind("trial")]
    conditions = [str(name) for name in people[0].study["conditions"]]
    layers = list(dict.fromkeys(sorted(answer.layer for answer in answers)))
    rows = []
    for layer in (*layers, None):
        for condition in conditions:
            found = [each for each in answers if each.condition == condition and layer in (None, each.layer)]
            if found:
                rows.append(score("all layers" if layer is None else layer, condition, found))
    return rows


def people_tables(people: Sequence[Participant]) -> str:
    """Format the scores as Markdown: pooled by layer and over all layers, then by participant."""
    rows = score_people(people)
    blocks = []
    for layer in dict.fromkeys(row.layer for row in rows):
        here = [row for row in rows if row.layer == layer]
        base = _baseline(here)
        header = HEADER.format(gain=f"correct - {base.explanation}" if base else "correct - real")
        lines = [_pooled_row(row, base) for row in here]
        blocks.append("\n".join([visible(layer), "", header, *lines]))
    lines = [_person_row(person, name, row) for person, name in _named(people) for row in _own(person)]
    blocks.append("\n".join(["by participant", "", PEOPLE_HEADER, *lines]))
    return "\n\n".join(blocks)


def _baseline(rows: Sequence[Scored]) -> Scored | None:
    """The condition with the fewest real patches, from which gains are counted: `real 1` if it is there."""
    real = [row for row in rows if row.explanation.startswith("real ")]
    return min(real, key=lambda row: row.pictures, default=None)


def _pooled_row(row: Scored, base: Scored | None) -> str:
    gain = "-"
    if base is not None and base is not row:
        there = dict(zip(base.units, base.correct, strict=True))
        gains = [
            mine - there[unit] for unit, mine in zip(row.units, row.correct, strict=True) if unit in there
        ]
        gain = _per_cent(gains, "+") if gains else "-"
    return _line(
        visible(row.explanation),
        f"{row.pictures:.3g}",
        len(row.units),
        row.answers,
        _per_cent(row.correct),
        gain,
        f"{row.confidence:.2f}",
        f"{row.seconds:.1f}",
    )


def _own(person: Participant) -> list[Scored]:
    return [row for row in score_people([person]) if row.layer == "all layers"]


def _named(people: Sequence[Participant]) -> list[tuple[Participant, str]]:
    """Participants with a name for the table: with the file, where several have the same."""
    names = [person.name for person in people]
    return [
        (person, person.name if names.count(person.name) == 1 else f"{person.name} ({person.file.name})")
        for person in people
    ]


def _person_row(person: Participant, name: str, row: Scored) -> str:
    caught = person.of_kind("catch")
    return _line(
        visible(name),
        visible(row.explanation),
        row.answers,
        _per_cent(row.correct),
        f"{row.confidence:.2f}",
        f"{row.seconds:.1f}",
        f"{sum(answer.right for answer in caught)} of {len(caught)}",
    )


def _line(*cells: object) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _per_cent(values: Sequence[float], sign: str = "") -> str:
    mean, half = interval(values)
    return f"{100 * mean:{sign}.1f} ± {100 * half:.1f}"
