"""Rows of the tables: for a layer, for both directions, for all layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from bench.truth.answers import Told, interval
from bench.truth.explanations import Explained
from pipeline.layers.layer import Layer

HEADER = (
    "| explanation | pictures | units | common, % | own, % | common - real 1 | own - real 1 "
    "| other unit: common | other unit: own | activation | fine |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the tables: the explanations of one kind in one layer, or in all layers.

    Args:
        layer: name of the layer.
        explanation: `real 4`, or a recipe.
        pictures: mean number of pictures per unit.
        told: accuracies of each unit.
        common_gain, own_gain: accuracy of each unit minus that of `real 1`.
        ratios: activation of each rendering relative to the dataset's best.
        statuses: status of each rendering.
        judge: its name.
    """

    layer: str
    explanation: str
    pictures: float
    told: Told
    common_gain: tuple[float, ...]
    own_gain: tuple[float, ...]
    ratios: tuple[float | None, ...]
    statuses: tuple[str, ...]
    judge: str = ""


def row_of(layer: Layer, explained: Explained, told: Told, real: Told | None, judge: str = "") -> Row:
    """Build the row for one kind of explanation in one layer.

    Args:
        layer: the units' layer.
        explained: the explanations.
        told: their accuracies.
        real: the accuracies of `real 1`; None if `told` is that.
        judge: name of the judge.
    """
    number = {unit: place for place, unit in enumerate((real or told).units)}
    places = [number[unit] for unit in told.units]
    common, own = (
        tuple(mine - theirs[place] for mine, place in zip(accuracies, places, strict=True))
        for accuracies, theirs in (
            (told.common, (real or told).common),
            (told.own, (real or told).own),
        )
    )
    return Row(
        layer.name,
        explained.kind,
        sum(len(explained.pictures[unit]) for unit in told.units) / len(told.units),
        told,
        common,
        own,
        tuple(row.ratio for row in explained.rows),
        tuple(row.status for row in explained.rows),
        judge,
    )


def both_ways(forth: Row, back: Row) -> Row:
    """Combine the rows of both directions into one row.

    Args:
        forth: explanations from one half, questions from the other.
        back: the halves exchanged.

    Returns:
        For each unit, the means of its two accuracies and of its two gains. Units with an
        explanation in only one direction are omitted. Ratios and statuses are those of all
        renderings, first those of `forth`.
    """
    assert (forth.layer, forth.explanation, forth.judge) == (back.layer, back.explanation, back.judge)
    number = {unit: place for place, unit in enumerate(back.told.units)}
    places = [(place, number[unit]) for place, unit in enumerate(forth.told.units) if unit in number]

    def means(there: Sequence[float], here: Sequence[float]) -> tuple[float, ...]:
        return tuple((there[one] + here[other]) / 2 for one, other in places)

    def joined(
        there: Sequence[tuple[float, ...]], here: Sequence[tuple[float, ...]]
    ) -> tuple[tuple[float, ...], ...]:
        return tuple(there[one] + here[other] for one, other in places) if there and here else ()

    return Row(
        forth.layer,
        forth.explanation,
        (forth.pictures + back.pictures) / 2,
        Told(
            tuple(forth.told.units[place] for place, _ in places),
            means(forth.told.common, back.told.common),
            means(forth.told.own, back.told.own),
            means(forth.told.other_common, back.told.other_common),
            means(forth.told.other_own, back.told.other_own),
            joined(forth.told.common_answers, back.told.common_answers),
            joined(forth.told.own_answers, back.told.own_answers),
        ),
        means(forth.common_gain, back.common_gain),
        means(forth.own_gain, back.own_gain),
        forth.ratios + back.ratios,
        forth.statuses + back.statuses,
        forth.judge,
    )


def pooled(rows: Sequence[Row]) -> Row:
    """Combine the rows of all layers into one row, in which every unit has the same weight."""
    joined = {
        field.name: tuple(each for row in rows for each in getattr(row.told, field.name))
        for field in fields(Told)
    }
    common, own, ratios, statuses = (
        tuple(each for row in rows for each in getattr(row, name))
        for name in ("common_gain", "own_gain", "ratios", "statuses")
    )
    count = sum(len(row.told.units) for row in rows)
    pictures = sum(row.pictures * len(row.told.units) for row in rows) / count
    kind = rows[0].explanation
    return Row("all layers", kind, pictures, Told(**joined), common, own, ratios, statuses, rows[0].judge)


def table_row(row: Row) -> str:
    """Format a row as Markdown, with the cells that `HEADER` names."""
    ratios = [ratio for ratio in row.ratios if ratio is not None]
    fine = [status in ("ok", "retried") for status in row.statuses]
    first = row.explanation == "real 1"
    cells = (
        row.explanation,
        f"{row.pictures:.3g}",
        str(len(row.told.units)),
        _per_cent(row.told.common),
        _per_cent(row.told.own),
        "-" if first else _per_cent(row.common_gain, "+"),
        "-" if first else _per_cent(row.own_gain, "+"),
        _per_cent(row.told.other_common),
        _per_cent(row.told.other_own),
        f"{sum(ratios) / len(ratios):.2f}" if ratios else "-",
        f"{sum(fine) / len(fine):.0%}" if fine else "-",
    )
    return f"| {' | '.join(cells)} |"


def _per_cent(values: Sequence[float], sign: str = "") -> str:
    mean, half = interval(values)
    return f"{100 * mean:{sign}.1f} ± {100 * half:.1f}"
