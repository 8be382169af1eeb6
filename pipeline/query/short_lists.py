"""Why a unit's list has fewer images than were asked for, in one line.

Lists contain only peaks that tell images apart (see `pipeline.state.unit_state`): a unit that never
activates has none, and a rectified unit may be above 0 in a few images only.
"""

from __future__ import annotations

from pipeline.choices import Side
from pipeline.progress import readable_count
from pipeline.query.index import Index

__all__ = ["constant_peak", "explain_short_list"]

_UNIT = """
SELECT "min", "max", images, images - round(active_fraction * images)::BIGINT FROM units
WHERE layer = $layer AND unit = $unit
"""


def constant_peak(low: float, high: float, images: int) -> str | None:
    """What is said of a unit whose peak is the same in all images; None if it is not.

    Args:
        low, high: the unit's minimum and maximum.
        images: number of indexed images.
    """
    if low != high:
        return None
    where = f"all {readable_count(images, 'image')}" if images > 1 else "the only image"
    return f"{'never activates' if low == 0 else 'is constant'}: its peak is {low:.4g} on {where}"


def explain_short_list(
    index: Index, layer: str, unit: int, side: Side, *, wanted: int, found: int, chosen: bool = False
) -> str | None:
    """Why a list has `found` images and not `wanted`; None where nothing needs to be said.

    Args:
        index: open.
        layer, unit, side: the list.
        wanted, found: numbers of images.
        chosen: whether only some images were meant, by label or condition.

    Raises:
        LayerError: for a layer that is not in the index.
        UsageError: for a unit out of range.
    """
    if found >= wanted:
        return None
    kept = int(index.run["config"]["top"])
    if found == kept and not index.keeps_peaks:
        many = readable_count(kept, "image")
        return f"the index keeps {many} per unit and side (--top); showing {found:,}"
    if chosen and not index.keeps_peaks:
        listed = len(index.top(layer, unit, n=kept, side=side))
        if listed == kept:
            held = f"{found:,} of {wanted:,}: the list of {listed:,} holds no more"
            return f"{held}; index again with --keep peaks"
    rows = index.sql(_UNIT, layer=layer, unit=unit).rows
    if not rows:
        return None
    low, high, images, inactive = rows[0]
    name = f"{index.unit_name(layer, unit)} of {layer}"
    constant = constant_peak(low, high, images)
    if constant is not None:
        return f"{name} {constant}"
    whole = "the images that are meant" if chosen else f"{images:,} images"
    if side == "high" and (found or chosen):
        return f"{name} is above its minimum, {low:.4g}, on {found:,} of {whole}"
    if side == "low" and found:
        return f"{name} is below its maximum, {high:.4g}, on {found:,} of {whole}"
    if side == "low" and low == 0 and inactive > kept:
        return (
            f"{name} has no lowest images: its peak is 0, the minimum, on {inactive:,} of {images:,} images"
        )
    return None
