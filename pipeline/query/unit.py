"""One unit of an open index, with its statistics, names and top images; notebooks show it with pictures.

    unit = index.unit("blocks.4.2", 17)
    unit.top(3)
    unit.card()
    unit.show()  # pictures, where `viz` is loaded, as `import maxact` does

This package does not draw: `viz` registers what does (`register_drawing`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.choices import Side
from pipeline.errors import MaxactError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pipeline.layers.layer import Layer
    from pipeline.query.index import Index
    from pipeline.query.results import QueryResult, TopImage
    from pipeline.query.selection import Patterns

__all__ = ["Drawing", "Unit", "register_drawing"]


class Drawing(Protocol):
    """What draws units and renders them."""

    def show_unit(self, unit: Unit, *, n: int) -> Any:
        """The rendering and the `n` top patches of a unit, as an object that notebooks show."""

    def render_unit(self, unit: Unit, recipe: str, **options: Any) -> Any:
        """Render a unit into its index; the renderings as an object that notebooks show."""


_registered: list[Callable[[], Drawing]] = []


def register_drawing(load: Callable[[], Drawing]) -> None:
    """Say what draws units.

    Args:
        load: returns it; called when something is to be drawn.
    """
    _registered[:] = [load]


def _drawing() -> Drawing:
    if not _registered:
        raise MaxactError("pictures of units need the package viz; import maxact, or viz, as well")
    return _registered[0]()


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of an open index. It stands for its number wherever a number of a unit is expected.

    Args:
        index: open, and open as long as the unit is used.
        layer: name of its layer.
        number: from 0.
    """

    index: Index = field(repr=False, compare=False)
    layer: str
    number: int

    def __index__(self) -> int:
        """The number of the unit."""
        return self.number

    def __str__(self) -> str:
        """The unit in words, with the name of its class if it has one."""
        return f"{self.index.unit_name(self.layer, self.number)} of {self.layer}"

    @property
    def names(self) -> tuple[str, ...]:
        """The concepts from labels that explain its peaks, then its words, each once; see `maxact name`."""
        found = self.index.query("unit_names", layer=self.layer, unit=self.number)
        return tuple(dict.fromkeys(row["concept"] for row in found.dicts() if row["source"] != "linear"))

    @property
    def statistics(self) -> dict[str, Any]:
        """Its row of the table `units`."""
        text = "SELECT * FROM units WHERE layer = $layer AND unit = $unit"
        (row,) = self.index.sql(text, layer=self.layer, unit=self.number).dicts()
        return row

    def where(self) -> Layer:
        """Its layer, with the grid and the receptive field."""
        return self.index.layer(self.layer)

    def top(self, n: int = 9, *, side: Side = "high") -> list[TopImage]:
        """The images with its highest (or lowest) peaks, strongest first; see `Index.top`."""
        return self.index.top(self.layer, self.number, n=n, side=side)

    def card(self) -> QueryResult:
        """All statistics of the unit in one row: the query `unit_card`."""
        return self.index.query("unit_card", layer=self.layer, unit=self.number)

    def activations(self) -> npt.NDArray[np.float32]:
        """(image,) its peaks on all images, in the order of `images`; see `Index.activations`.

        Raises:
            StoreError: when the index does not keep the peaks of all images (`--keep peaks`).
        """
        return self.index.activations(self.layer, [self.number])[:, 0]

    def nearest(self, layers: Patterns = (), *, n: int = 10) -> QueryResult:
        """The units whose peaks are most like its own; see `Index.nearest_units`.

        Raises:
            StoreError: when the index does not keep the peaks of all images (`--keep peaks`).
        """
        return self.index.nearest_units(self.layer, self.number, layers, n=n)

    def show(self, n: int = 9) -> Any:
        """The unit's renderings and its top patches, as an object that a notebook shows.

        Args:
            n: number of patches, of different photographs.

        Returns:
            A `viz.notebook.views.UnitView`; its `save(path)` writes a PNG.

        Raises:
            MaxactError: when `viz` is not loaded.
            SourceError: when the dataset cannot be found, and the index has no thumbnails.
        """
        return _drawing().show_unit(self, n=n)

    def render(self, recipe: str = "typical", **options: Any) -> Any:
        """Render a synthetic image of the unit, or take the one that is there.

        Args:
            recipe: its name, see `maxact recipes`.
            options: of the recipe, such as `steps=256`; and `seed`, `objective`, `device`, `precision`,
                `network` and `weights` as for `viz.render.render_index.render_index`.

        Returns:
            A `viz.notebook.views.Renderings`, a sequence of pictures with their rows of `renders`.

        Raises:
            MaxactError: when `viz` is not loaded, or the unit cannot be rendered so.
        """
        return _drawing().render_unit(self, recipe, **options)

    def _repr_html_(self) -> str:
        """The unit as notebooks show it: with pictures where they can be had, else its statistics."""
        if _registered:
            try:
                return str(_drawing().show_unit(self, n=9)._repr_html_())
            except MaxactError:  # the dataset is elsewhere: its tables can still be shown
                pass
        return str(self.card()._repr_html_())
