"""Objects that a notebook shows: a unit with its pictures, and renderings.

Pictures are inside the HTML, so that a saved notebook needs no other file.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import overload

from PIL import Image

from pipeline.store.files import atomic_path
from pipeline.visible import visible
from viz.paths.likeness import is_unusual
from viz.render.table import Rendered
from viz.sheets.content import Cell
from viz.sheets.palette import PAPER
from viz.sheets.typography import readable_number

__all__ = ["Rendering", "Renderings", "UnitView"]

SIDE = 112
"""Side of a picture in a notebook, in pixels of the page; twice as many are stored."""

GAP = 8


@dataclass(frozen=True, slots=True)
class UnitView:
    """A unit's renderings and top patches.

    Args:
        layer: its name.
        cell: what is shown, as on a contact sheet.
    """

    layer: str
    cell: Cell

    @property
    def image(self) -> Image.Image:
        """The renderings and the patches in a row."""
        rendered = self.cell.synthetic.pictures if self.cell.synthetic else ()
        return _row([*rendered, *(tile.picture for tile in self.cell.tiles)])

    def save(self, path: Path | str) -> Path:
        """Write the row of pictures as a PNG.

        Raises:
            StoreError: when it cannot be written.
        """
        with atomic_path(Path(path)) as temporary:
            self.image.save(temporary, format="PNG")
        return Path(path)

    def _repr_html_(self) -> str:
        cell = self.cell
        figures = []
        if cell.synthetic is not None:
            marks = ", ".join(filter(None, ("synthetic", cell.synthetic.mark)))
            caption = f"{marks} {readable_number(cell.synthetic.activation)}"
            figures = [_figure(picture, caption) for picture in cell.synthetic.pictures]
        figures += [
            _figure(tile.picture, f"{tile.label} {readable_number(tile.activation)}") for tile in cell.tiles
        ]
        words = " · ".join(filter(None, (cell.subtitle, cell.note)))
        head = f"<p><b>{_text(self.layer)}, {_text(cell.title)}</b> {_text(words)}</p>"
        return f"<div>{head}{_wrapped(figures) if figures else '<p>no top images</p>'}</div>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """HTML for a notebook, and text for a console."""
        return {"text/html": self._repr_html_(), "text/plain": str(self)}

    def __str__(self) -> str:
        """The unit, and the labels of its top images."""
        labels = ", ".join(tile.label for tile in self.cell.tiles)
        return visible(f"{self.layer}, {self.cell.title}: {labels or 'no top images'}")


@dataclass(frozen=True, slots=True, repr=False)
class Rendering:
    """One rendering.

    Args:
        row: of `renders`, with activation, ratio and status.
        image: cropped to the unit's receptive field.
    """

    row: Rendered
    image: Image.Image

    @property
    def caption(self) -> str:
        """Recipe, activation, and its share of the best real image's."""
        parts = [f"{self.row.recipe} {readable_number(self.row.activation)}"]
        if self.row.ratio is not None:
            parts.append(f"{self.row.ratio:.2g} of the best real image")
        if self.row.status != "ok":
            parts.append(self.row.status)
        if is_unusual(self.row.path):
            parts.append(f"unusual path {self.row.path:.2f}")
        return ", ".join(parts)

    def __repr__(self) -> str:
        """The unit and the caption."""
        return f"Rendering({self.row.layer} {self.row.unit}: {self.caption})"

    def _repr_html_(self) -> str:
        return _wrapped([_figure(self.image, self.caption, 2 * SIDE)])

    def _repr_png_(self) -> bytes:
        return _encode(self.image, "PNG")


@dataclass(frozen=True, slots=True, repr=False)
class Renderings(Sequence[Rendering]):
    """The renderings of a unit, those of a recipe with facets one after another."""

    items: tuple[Rendering, ...]

    @overload
    def __getitem__(self, number: int) -> Rendering: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[Rendering]: ...

    def __getitem__(self, number: int | slice) -> Rendering | Sequence[Rendering]:
        """One of them, or several."""
        return Renderings(self.items[number]) if isinstance(number, slice) else self.items[number]

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        """The captions."""
        return f"Renderings({'; '.join(each.caption for each in self.items)})"

    def _repr_html_(self) -> str:
        return _wrapped([_figure(each.image, each.caption, 2 * SIDE) for each in self.items])


def _row(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures side by side, all of one size."""
    side = 2 * SIDE
    row = Image.new("RGB", (max(1, len(pictures)) * (side + GAP) - GAP, side), PAPER)
    for number, picture in enumerate(pictures):
        row.paste(picture.resize((side, side), Image.Resampling.LANCZOS), (number * (side + GAP), 0))
    return row


def _wrapped(figures: Sequence[str]) -> str:
    return f'<div style="display:flex;flex-wrap:wrap;gap:{GAP}px">{"".join(figures)}</div>'


def _figure(picture: Image.Image, caption: str, side: int = SIDE) -> str:
    stored = picture.convert("RGB")
    stored.thumbnail((2 * side, 2 * side), Image.Resampling.LANCZOS)
    data = base64.b64encode(_encode(stored, "WEBP", quality=85)).decode()
    text = _text(caption)
    return (
        f'<figure style="margin:0;width:{side}px"><img width="{side}" height="{side}" alt="{text}" '
        f'src="data:image/webp;base64,{data}"><figcaption style="font-size:11px;line-height:1.3;'
        f'overflow-wrap:anywhere">{text}</figcaption></figure>'
    )


def _text(text: str) -> str:
    return escape(visible(text))


def _encode(picture: Image.Image, form: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=form, **options)
    return buffer.getvalue()
