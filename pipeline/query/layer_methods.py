"""The methods of an index that name its layers, units and labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline.errors import LayerError, UsageError, did_you_mean
from pipeline.query.selection import ALL_UNITS, Patterns, Units, choose_units, select
from pipeline.query.unit import Unit

if TYPE_CHECKING:
    from pipeline.layers.layer import Layer
    from pipeline.query.index import Index

__all__ = ["LayerMethods", "is_texts"]


class LayerMethods:
    """A base of `pipeline.query.index.Index`."""

    out: Path
    run: dict[str, Any]
    _units: dict[str, int]
    _vectors: set[str]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The probed layers, in forward order."""
        from pipeline.layers.layer import Layer

        rows = cast("Index", self)._fetch("SELECT * FROM layers ORDER BY ordinal", {}).dicts()
        names = {field.name for field in fields(Layer)}
        return tuple(
            Layer.from_record({"name": row["layer"], **{k: v for k, v in row.items() if k in names}})
            for row in rows
        )

    def layer(self, name: str) -> Layer:
        """The layer of that name.

        Raises:
            LayerError: when it is not in this index; the nearest names are suggested.
        """
        self.unit_count(name)
        return next(layer for layer in self.layers if layer.name == name)

    def unit_count(self, layer: str) -> int:
        """The number of units of a layer.

        Raises:
            LayerError: when it is not in this index; the nearest names are suggested.
        """
        if not isinstance(layer, str):
            raise LayerError(f"the name of a layer must be text, got {layer!r}")
        if layer not in self._units:
            hint = did_you_mean(layer, self._units) or f"; it has {', '.join(self._units)}"
            raise LayerError(f"{self.out} has no layer {layer!r}{hint}")
        return self._units[layer]

    def choose(self, layers: Patterns = (), units: Units = ALL_UNITS) -> list[tuple[Layer, tuple[int, ...]]]:
        """Layers, and the units meant of each.

        One layer must have all the units; of several, each gives those that it has.

        Args:
            layers: names or globs, a plain string is one of them; all layers for none.
            units: numbers, or text such as `0-23,40`; see `pipeline.query.selection`.

        Raises:
            LayerError: when a pattern matches nothing.
            UsageError: when no layer has such units.
        """
        if not isinstance(layers, str):
            layers = tuple(layers) if isinstance(layers, Iterable) else (layers,)
            if not is_texts(layers) or any(isinstance(each, Path) for each in layers):
                raise UsageError(f"layers must be names or globs, got {layers!r}")
        classes = {name: names for name in self._units if (names := self.class_names(name))}
        chosen = select(layers, units, self._units, where=str(self.out), classes=classes)
        return [(self.layer(name), numbers) for name, numbers in chosen.items()]

    def units(self, layer: str, units: Units = ALL_UNITS) -> tuple[int, ...]:
        """Units of a layer, as numbers; see `pipeline.query.selection.choose_units`."""
        count, classes = self.unit_count(layer), self.class_names(layer)
        return choose_units(units, count, where=layer, classes=classes)

    def unit(self, layer: str, unit: int | str) -> Unit:
        """One unit by its number, or by its class name in a classifier.

        Raises:
            LayerError: for a layer that is not in the index.
            UsageError: when `unit` does not name exactly one unit of the layer.
        """
        units = self.units(layer, unit if isinstance(unit, str) else (unit,))
        if len(units) != 1:
            raise UsageError(f"{unit!r} names {len(units)} units of {layer}; give one of them")
        return Unit(cast("Index", self), layer, units[0])

    def class_names(self, layer: str) -> tuple[str, ...] | None:
        """The network's class names, where they are known and the layer is its classifier.

        Of a network with several classifiers, those before the last layer are vectors as well.
        """
        classes = self.run.get("network", {}).get("classes")
        count = len(classes or ())
        last = next(reversed(self._units), None)
        alike = takewhile(
            lambda name: self._units[name] == count and (name == last or name in self._vectors),
            reversed(self._units),
        )
        if not classes or layer not in alike:
            return None
        return tuple(str(name) for name in classes)

    def unit_name(self, layer: str, unit: int) -> str:
        """A unit in words: the name of its class, if it has one, and its number."""
        names = self.class_names(layer)
        return f"unit {unit}" if names is None or unit >= len(names) else f"unit {unit} ({names[unit]})"

    def require_label(self, label: str) -> None:
        """Refuse a label that no image has.

        Raises:
            UsageError: suggests the nearest ones.
        """
        if not isinstance(label, str):
            raise UsageError(f"a label must be text, got {label!r}")
        rows = (
            cast("Index", self)
            ._fetch("SELECT DISTINCT label FROM images WHERE label IS NOT NULL ORDER BY label", {})
            .rows
        )
        labels = [row[0] for row in rows]
        if label not in labels:
            hint = did_you_mean(label, labels) or f"; it has {len(labels):,} labels"
            raise UsageError(f"{self.out} has no image labelled {label!r}{hint}")


def is_texts(values: object) -> bool:
    """Whether this is one name or path, or a collection of them."""
    if isinstance(values, str | Path):
        return True
    return isinstance(values, Sequence) and all(isinstance(value, str | Path) for value in values)
