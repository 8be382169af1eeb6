"""Draw the plot of a cell: a histogram of peaks, the best real image and the rendering."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from viz.sheets.content import Bucket, Cell
from viz.sheets.layout import Rect
from viz.sheets.palette import ACCENT, FAINT, INK, SILHOUETTE, SOFT_INK
from viz.sheets.typography import font, readable_number

__all__ = ["bar_heights", "draw_plot"]

BAR = 4
"""Width of a histogram bar in pixels."""


def draw_plot(page: Image.Image, pen: ImageDraw.ImageDraw, cell: Cell, place: Rect) -> None:
    """Draw the plot of a cell.

    Args:
        page: the page, which is modified.
        pen: draws on `page`.
        cell: its content.
        place: the area of the plot.
    """
    if cell.synthetic is not None:
        _draw_comparison(pen, cell.synthetic.activation, cell.best, place)
    axis = Rect(place.left, place.top + 56, place.width, place.height - 56 - 34)
    low, high = _plot_range(cell)

    def to_x(value: float) -> int:
        return round(axis.left + (value - low) / (high - low) * (axis.width - 1))

    for column, height in bar_heights(cell.histogram, low, high, axis.width // BAR):
        left, top = axis.left + column * BAR, axis.bottom - max(2, round(height * axis.height))
        pen.rectangle((left, top, left + BAR - 1, axis.bottom), SILHOUETTE)
    pen.rectangle((axis.left, axis.bottom, axis.right - 1, axis.bottom + 1), fill=FAINT)
    best = to_x(cell.best)
    pen.rectangle((best - 1, axis.top + 8, best + 1, axis.bottom + 1), fill=INK)
    if cell.synthetic is not None:
        x = to_x(cell.synthetic.activation)
        pen.rectangle((x - 1, axis.top + 8, x + 1, axis.bottom + 1), fill=ACCENT)
        _draw_dot(page, x, axis.top + 8, 7)
    soft, words = font("Regular", 20), f"best real {readable_number(cell.best)}"
    half = soft.getlength(words) / 2
    middle = min(max(best, place.left + half), place.right - half)
    pen.text((middle, axis.bottom + 28), words, SOFT_INK, soft, anchor="ms")


def _draw_comparison(pen: ImageDraw.ImageDraw, activation: float, best: float, place: Rect) -> None:
    """Draw the ratio, `1.8x best real`, on the left if both are positive, and the activation on the right."""
    base = place.top + 38
    face = font("Medium", 22)
    pen.text((place.right, base), readable_number(activation), ACCENT, face, anchor="rs")
    if best <= 0 or activation <= 0:
        return
    bold, soft = font("SemiBold", 28), font("Regular", 20)
    ratio = activation / best
    words = f"{ratio:.1f}" if 1 <= ratio < 10 else f"{ratio:.2g}" if ratio < 1 else f"{ratio:,.0f}"
    words += "\N{MULTIPLICATION SIGN}"
    pen.text((place.left, base), words, ACCENT, bold, anchor="ls")
    after = place.left + bold.getlength(words) + 8
    pen.text((after, base), "best real", SOFT_INK, soft, anchor="ls")


def _draw_dot(page: Image.Image, x: int, y: int, radius: int) -> None:
    """Draw an antialiased disc, which Pillow's ellipse is not."""
    side = 2 * radius + 1
    mask = Image.new("L", (side * 8, side * 8))
    ImageDraw.Draw(mask).ellipse((0, 0, side * 8 - 1, side * 8 - 1), fill=255)
    smooth = mask.resize((side, side), Image.Resampling.BOX)
    page.paste(ACCENT, (x - radius, y - radius), smooth)


def _plot_range(cell: Cell) -> tuple[float, float]:
    """Return the range of activations on the axis: that of all shown values and 0, with a margin."""
    values = [cell.best, 0.0]
    if cell.synthetic is not None:
        values.append(cell.synthetic.activation)
    if cell.histogram:
        values.append(cell.histogram[0][0])
    low, high = min(values), max(values)
    margin = (high - low) * 0.04 or 1.0
    return (low - margin if low < 0 else low), high + margin


def bar_heights(
    histogram: Sequence[Bucket], low: float, high: float, columns: int
) -> list[tuple[int, float]]:
    """Return (column, height) of the columns with images; heights are logarithmic, from 0 to 1."""
    counts = [0.0] * columns
    for lower, upper, images in histogram:
        first = (lower - low) / (high - low) * columns
        last = (upper - low) / (high - low) * columns
        start, stop = (
            max(0, math.floor(first)),
            min(columns, max(math.ceil(last), math.floor(first) + 1)),
        )
        for column in range(start, stop):
            overlap = min(last, column + 1) - max(first, column)
            counts[column] += images * (overlap / (last - first) if last > first else 1.0)
    top = math.log1p(max(counts, default=0.0)) or 1.0
    return [(i, math.log1p(count) / top) for i, count in enumerate(counts) if count > 0]
