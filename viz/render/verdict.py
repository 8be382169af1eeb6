"""Whether a rendering succeeded, compared with what the dataset reached."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pipeline.store.tables import read_table
from viz.render.measure import Measured

__all__ = ["Reference", "judge", "ratio_of", "read_references"]

FLAT_DEVIATION = 4.0
"""A picture whose pixels deviate less than this from their mean, on 0..255, is called grey."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What the dataset reached for a unit: its extremes and quantiles of peaks."""

    highest: float | None = None
    lowest: float | None = None
    p90: float | None = None
    p999: float | None = None


def read_references(out: Path, layer: str) -> dict[int, Reference]:
    """The dataset's extremes of a layer's units, by unit; empty where nothing is indexed.

    Raises:
        StoreError: when the table is damaged or of another version.
    """
    path = out / "units.parquet"
    if not path.exists():
        return {}
    table = read_table(path).select(["layer", "unit", "max", "min", "p90", "p999"])
    return {
        row["unit"]: Reference(row["max"], row["min"], row["p90"], row["p999"])
        for row in table.to_pylist()
        if row["layer"] == layer
    }


def judge(measured: Measured, reference: Reference, picture: Tensor, *, lowest: bool) -> str:
    """`ok`, or what is wrong: a grey picture, or an activation that many real images beat.

    Args:
        measured: on the saved picture.
        reference: of the unit.
        picture: (channel, y, x) uint8.
        lowest: whether the objective is the unit's lowest activation.
    """
    if picture.float().std() < FLAT_DEVIATION:
        return "grey"
    if lowest or measured.peak is None or reference.p90 is None:
        return "ok"
    return "weak" if measured.activation < reference.p90 else "ok"


def ratio_of(activation: float, best: float | None, *, lowest: bool) -> float | None:
    """An activation over the dataset's best: above 1 is beyond it, up or down.

    None where the best is unknown, or where its sign makes the quotient meaningless.
    """
    if best is None or not (best < 0 if lowest else best > 0):
        return None
    return activation / best
