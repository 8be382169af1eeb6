"""Explanations as the rows of one table, for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UsageError
from pipeline.explain.compare import contrast_photographs
from pipeline.explain.explainer import Explainer, Explanation, UnitResponse
from pipeline.explain.photographs import Photograph
from pipeline.explain.pulls import class_pulls, find_classes
from pipeline.progress import Reporter

__all__ = ["Explained", "explain_rows"]

Rows = list[tuple[Any, ...]]

_UNITS = ("photograph", "layer", "unit", "name", "peak", "quantile", "exact", "deviations", "y", "x")
_BOX = ("box_left", "box_top", "box_right", "box_bottom")
_CONTRASTS = (
    *("layer", "unit", "name", "peak", "against", "difference", "quantile", "against_quantile"),
    *("y", "x"),
)
_PULLS = ("photograph", "layer", "unit", "name", "pull", "peak", "toward")


@dataclass(frozen=True, slots=True)
class Explained:
    """What is asked about photographs.

    Args:
        n: units of each layer.
        maps: keep activation maps, for a sheet.
        against: another photograph, or None.
        classes: two class names, or None.
        photographs: how many are given.

    Raises:
        UsageError: when these exclude each other.
    """

    n: int
    maps: bool
    against: str | None
    classes: str | None
    photographs: int

    def __post_init__(self) -> None:
        if self.against is not None and self.classes is not None:
            raise UsageError("--against and --between exclude each other; give only one")
        if self.maps and (self.against is not None or self.classes is not None):
            raise UsageError(
                "--sheet draws the units that a photograph drives; leave out --against and --between"
            )
        if self.photographs > 1 and (self.maps or self.against is not None):
            raise UsageError(
                f"{'--sheet' if self.maps else '--against'} takes one photograph, got {self.photographs}"
            )


def explain_rows(
    explainer: Explainer,
    photographs: Sequence[Photograph],
    other: Photograph | None,
    asked: Explained,
    reporter: Reporter,
) -> tuple[tuple[str, ...], Rows, list[str], list[Explanation]]:
    """Explain photographs, or their difference from another, or what pulls to two classes.

    Args:
        explainer: of the index.
        photographs: to explain.
        other: to compare the only one with, or None.
        asked: which of the three.
        reporter: shown progress.

    Returns:
        Names of the columns, rows, notes for the reader, and the explanations that the rows are made from.
    """
    if other is not None:
        return _contrast(explainer, photographs[0], other, asked)
    if asked.classes is not None:
        return _pulls(explainer, photographs, asked.classes, asked)
    rows: Rows = []
    found = []
    with reporter.task("explaining", len(photographs), "photographs") as task:
        for photograph in photographs:
            found.append(explainer.explain(photograph, n=asked.n, maps=asked.maps))
            rows += [
                (photograph.name, layer.layer.name, *_response(unit))
                for layer in found[-1].layers
                for unit in layer.units
            ]
            task.advance()
    return (*_UNITS, *_BOX), rows, [], found


def _response(unit: UnitResponse) -> tuple[Any, ...]:
    box: tuple[float | None, ...] = (None,) * 4
    if unit.box is not None:
        box = (unit.box.left, unit.box.top, unit.box.right, unit.box.bottom)
    return (unit.unit, unit.name, unit.peak, unit.quantile, unit.exact, unit.deviations, unit.y, unit.x, *box)


def _contrast(
    explainer: Explainer, first: Photograph, second: Photograph, asked: Explained
) -> tuple[tuple[str, ...], Rows, list[str], list[Explanation]]:
    one, two, contrasts = contrast_photographs(explainer, first, second, n=asked.n)
    rows: Rows = [
        (
            *(each.layer.name, each.first.unit, each.first.name, each.first.peak, each.second.peak),
            *(each.difference, each.first.quantile, each.second.quantile, each.first.y, each.first.x),
        )
        for each in contrasts
    ]
    note = "difference is in standard deviations of the unit's peaks over the indexed images"
    return _CONTRASTS, rows, [note], [one, two]


def _pulls(
    explainer: Explainer, photographs: Sequence[Photograph], words: str, asked: Explained
) -> tuple[tuple[str, ...], Rows, list[str], list[Explanation]]:
    classes = find_classes(explainer, words)
    layer, first, second = classes
    index = explainer.index
    names = [index.unit_name(layer.name, unit) for unit in (first, second)]
    rows: Rows = []
    notes = []
    for photograph in photographs:
        scores, pulls = class_pulls(explainer, photograph, classes, n=asked.n)
        notes.append(f"{photograph.name}: {names[0]} {scores[0]:.4g}, {names[1]} {scores[1]:.4g}")
        for each in pulls:
            own = index.class_names(each.layer.name)
            name = own[each.unit] if own and each.unit < len(own) else None
            toward = names[0] if each.pull > 0 else names[1]
            rows.append((photograph.name, each.layer.name, each.unit, name, each.pull, each.peak, toward))
    return _PULLS, rows, notes, []
