"""Rows of the tables: of a layer, of both directions, of all layers."""

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
    """A row of the tables: explanations of one kind in a layer, or in all of them.

    Args:
        layer: by name.
        explanation: `real 4`, or a recipe.
        pictures: of a unit, mean.
        told: accuracies of each unit.
        common_gain, own_gain: of each unit, accuracy less that of `real 1`.
        ratios: of each rendering, activation over the dataset's best.
        statuses: of each rendering.
    """

    layer: str
    explanation: str
    pictures: float
    told: Told
    common_gain: tuple[float, ...]
    own_gain: tuple[float, ...]
    ratios: tuple[float | None, ...]
    statuses: tuple[str, ...]


def row_of(layer: Layer, explained: Explained, told: Told, real: Told | None) -> Row:
    """What the tables say of one kind of explanations.

    Args:
        layer: of the units.
        explained: what was judged.
        told: how that went.
        real: the same of one real patch; None where this is that.
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
        sum(len(explained.features[unit]) for unit in told.units) / len(told.units),
        told,
        common,
        own,
        tuple(row.ratio for row in explained.rows),
        tuple(row.status for row in explained.rows),
    )


def both_ways(forth: Row, back: Row) -> Row:
    """Explanations of one kind in a layer, made from one half and from the other, as one row.

    Args:
        forth: of one half, asked by the other.
        back: the halves exchanged.

    Returns:
        For each unit the means of its two accuracies and of its two gains. A unit without an
        explanation on one side has no two, and is left out. Ratios and statuses are those of all
        renderings, forth's first.
    """
    assert (forth.layer, forth.explanation) == (back.layer, back.explanation)
    number = {unit: place for place, unit in enumerate(back.told.units)}
    places = [(place, number[unit]) for place, unit in enumerate(forth.told.units) if unit in number]

    def means(there: Sequence[float], here: Sequence[float]) -> tuple[float, ...]:
        return tuple((there[one] + here[other]) / 2 for one, other in places)

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
        ),
        means(forth.common_gain, back.common_gain),
        means(forth.own_gain, back.own_gain),
        forth.ratios + back.ratios,
        forth.statuses + back.statuses,
    )


def pooled(rows: Sequence[Row]) -> Row:
    """The same explanations of all layers as one row; every unit counts alike."""
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
    return Row("all layers", kind, pictures, Told(**joined), common, own, ratios, statuses)


def table_row(row: Row) -> str:
    """A row as `HEADER` names its cells."""
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
