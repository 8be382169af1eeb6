"""Compares the peaks that an index keeps of all images with its statistics, lists and strata.

Kept peaks are rounded to their number format. Rounding never changes an order, so that bounds and list
entries are compared after the same rounding; means and deviations move by no more than the rounding errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.check.findings import Discrepancy, Findings
from pipeline.progress import Reporter
from pipeline.query.index import Index
from pipeline.query.kept_peaks import KeptPeaks

__all__ = ["check_kept_peaks", "rounding_error"]

_MEMORY = 1 << 28
"""Bytes of peaks that are in memory together."""

_UNITS = """
SELECT unit, mean, std, "min", "max", round(active_fraction * images)::BIGINT AS active FROM units
WHERE layer = $layer AND unit BETWEEN $first AND $last ORDER BY unit
"""

_ENTRIES = """
SELECT unit, side, activation, image_id FROM top
WHERE layer = $layer AND unit BETWEEN $first AND $last AND image_id IN (SELECT image_id FROM images)
UNION ALL
SELECT unit, 'strata', activation, image_id FROM strata
WHERE layer = $layer AND unit BETWEEN $first AND $last AND image_id IN (SELECT image_id FROM images)
"""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Unit:
    """A unit of a layer: its peaks, (image,), and what the tables say of it."""

    layer: str
    unit: int
    peaks: Floats
    mean: float
    std: float
    low: float
    high: float
    active: int


def rounding_error(peaks: npt.NDArray[np.floating], kind: np.dtype[np.floating]) -> npt.NDArray[np.float64]:
    """By how much a peak in float32 may differ from the one that is kept.

    Args:
        peaks: of any shape.
        kind: number format of kept peaks.
    """
    if kind.itemsize == 4:
        return np.zeros(np.shape(peaks))
    limits = np.finfo(kind)
    errors = np.maximum(np.abs(peaks) * float(limits.eps), float(limits.smallest_subnormal)) / 2
    return np.asarray(errors, np.float64)


def check_kept_peaks(index: Index, reporter: Reporter) -> Findings:
    """Compare the kept peaks of every unit with `units`, `top` and `strata`.

    Args:
        index: open; keeps peaks.
        reporter: shows the progress.

    Raises:
        StoreError: when the peaks cannot be read.
    """
    found, kept = Findings(), index.peaks
    most = max(1, _MEMORY // max(4 * kept.matrix.image_count, 1))
    with reporter.task("comparing peaks", kept.matrix.unit_count, "units") as task:
        for layer, span in kept.spans.items():
            for first in range(span.start, span.stop, most):
                units = slice(first, min(first + most, span.stop))
                for discrepancy in _compare(index, kept, layer, units, first - span.start):
                    found.add(discrepancy)
                task.advance(units.stop - units.start)
    return found


def _compare(index: Index, kept: KeptPeaks, layer: str, columns: slice, first: int) -> Iterator[Discrepancy]:
    """Compare neighbouring units of a layer.

    Args:
        index: open.
        kept: its peaks.
        layer: of the units.
        columns: the units over all layers.
        first: number of the first one in its layer.
    """
    peaks = kept.matrix.units(columns)
    bound: dict[str, object] = {"layer": layer, "first": first, "last": first + len(peaks) - 1}
    entries: dict[int, dict[str, list[tuple[float, int]]]] = {}
    for number, side, activation, image_id in index.sql(_ENTRIES, **bound).rows:
        entries.setdefault(number, {}).setdefault(side, []).append((activation, image_id))
    for number, mean, std, low, high, active in index.sql(_UNITS, **bound).rows:
        if None in (mean, std, low, high, active):
            continue  # a rule reports it
        unit = _Unit(layer, number, peaks[number - first], mean, std, low, high, active)
        for what in _statistics(unit, kept):
            yield Discrepancy(layer, number, -1, what)
        for side in ("high", "low", "strata"):
            listed = entries.get(number, {}).get(side, [])
            yield from _entries(unit, kept, side, listed)
            if side != "strata":
                yield from _absences(unit, kept, side, listed, int(index.run["config"]["top"]))


def _statistics(unit: _Unit, kept: KeptPeaks) -> Iterator[str]:
    peaks = unit.peaks.astype(np.float64)
    if not len(peaks):
        return
    for name, value, recorded in (("minimum", peaks.min(), unit.low), ("maximum", peaks.max(), unit.high)):
        if value != _rounded(recorded, kept):
            yield f"the {name} of its kept peaks is {value:g}, that of the unit {recorded:g}"
    errors = rounding_error(peaks, kept.matrix.kind)
    slack = 1e-9 * float(np.abs(peaks).max())
    for name, value, recorded, error in (
        ("mean", peaks.mean(), unit.mean, errors.mean()),
        ("standard deviation", peaks.std(), unit.std, np.sqrt((errors**2).mean())),
    ):
        if not abs(value - recorded) <= error + slack:
            yield f"the {name} of its kept peaks is {value:g}, that of the unit {recorded:g}"
    above = int((peaks > 0).sum())
    vanished = int((peaks == 0).sum()) if kept.matrix.kind.itemsize == 2 else 0
    if not above <= unit.active <= above + vanished:
        yield f"{above} of its kept peaks are above 0, but {unit.active} images are active"


def _entries(
    unit: _Unit, kept: KeptPeaks, side: str, listed: list[tuple[float, int]]
) -> Iterator[Discrepancy]:
    """Entries of a list or of the strata whose image has another kept peak."""
    if not listed:
        return
    there = unit.peaks[kept.rows([image_id for _, image_id in listed])]
    for (activation, image_id), value in zip(listed, there.tolist(), strict=True):
        if activation is None or value != _rounded(activation, kept):
            where = "strata" if side == "strata" else f"the {side} list"
            what = f"its kept peak is {value:g}, the one in {where} {activation}"
            yield Discrepancy(unit.layer, unit.unit, image_id, what)


def _absences(
    unit: _Unit, kept: KeptPeaks, side: str, listed: list[tuple[float, int]], top: int
) -> Iterator[Discrepancy]:
    """The first image that a list lacks although its kept peak is beyond the last entry."""
    sign = 1 if side == "high" else -1
    if side == "low" and not listed and unit.low == 0:
        return  # which of the images at 0 are listed would be arbitrary
    known = [activation for activation, _ in listed if activation is not None]
    full = len(listed) >= top and known
    last = min(known, key=lambda value: sign * value) if full else (unit.low if side == "high" else unit.high)
    beyond = sign * unit.peaks > sign * _rounded(last, kept)
    beyond[kept.rows([image_id for _, image_id in listed])] = False
    rows = beyond.nonzero()[0]
    if len(rows):
        what = f"its kept peak of {unit.peaks[rows[0]]:g} belongs on the {side} list"
        yield Discrepancy(unit.layer, unit.unit, int(kept.image_ids[rows[0]]), what)


def _rounded(value: float, kept: KeptPeaks) -> float:
    return float(np.float32(value).astype(kept.matrix.kind))
