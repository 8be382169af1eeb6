"""What a rendering maximises: units, directions and their weighted sums.

    point(layer, 7)                           the unit at the grid's centre
    channel(layer, 7) - 0.5 * channel(layer, 9)
    -point(layer, 7, y=0, x=3)                the lowest instead of the highest

An `Objective` is data, a sum of `Term`s, and belongs to one image. `evaluate` scores a batch with
one objective per image, every kind of term in one gather, so that a batch of different units costs
no more than a batch of one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from pipeline.errors import RenderError
from pipeline.layers.layer import Layer

__all__ = [
    "Objective",
    "Term",
    "View",
    "centre",
    "channel",
    "direction",
    "energy",
    "evaluate",
    "logit",
    "point",
]

TermKind = Literal["point", "channel", "direction", "energy"]


def centre(length: int) -> int:
    """The middle grid position, `(length - 1) // 2` as in the post."""
    return (length - 1) // 2


@dataclass(frozen=True, slots=True)
class View:
    """A layer's activations on a part of the input.

    Args:
        values: (image, unit, y, x).
        top: row of the whole input's grid that is row 0 here.
        left: likewise for columns.
    """

    values: Tensor
    top: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True)
class Term:
    """One weighted part of an objective.

    Args:
        layer: where it is read.
        kind: `point` reads one grid position, `channel` the mean over positions, `direction` the
            dot product with `vector` (at a position, or the mean over positions when y is None),
            `energy` the mean square over positions.
        unit: the channel; -1 for a direction, or for the energy of all units.
        y, x: grid position on the whole input; None where the kind has no position.
        vector: (unit,) for a direction.
        weight: factor.
    """

    layer: Layer
    kind: TermKind
    unit: int = -1
    y: int | None = None
    x: int | None = None
    vector: tuple[float, ...] | None = None
    weight: float = 1.0

    def __str__(self) -> str:
        inside = [self.layer.name]
        inside += [] if self.unit < 0 else [str(self.unit)]
        inside += [] if self.vector is None else [_short_digest(self.vector)]
        inside += [] if self.y is None else [f"y={self.y}", f"x={self.x}"]
        text = f"{self.kind}({', '.join(inside)})"
        return text if self.weight == 1 else f"{self.weight:g} * {text}"


def _short_digest(vector: tuple[float, ...]) -> str:
    """Tells directions apart in a name."""
    return hashlib.sha256(repr(vector).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Objective:
    """A weighted sum of terms, scored per image; `+`, `-` and `*` by a number make new ones."""

    terms: tuple[Term, ...]

    def __add__(self, other: Objective) -> Objective:
        return Objective(self.terms + other.terms)

    def __sub__(self, other: Objective) -> Objective:
        return self + -other

    def __neg__(self) -> Objective:
        return self * -1.0

    def __mul__(self, factor: float) -> Objective:
        return Objective(tuple(replace(term, weight=term.weight * factor) for term in self.terms))

    __rmul__ = __mul__

    def __str__(self) -> str:
        return " + ".join(str(term) for term in self.terms)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that are read, in forward order."""
        found = {term.layer.name: term.layer for term in self.terms}
        return tuple(sorted(found.values(), key=lambda layer: layer.ordinal))


def point(layer: Layer, unit: int, y: int | None = None, x: int | None = None) -> Objective:
    """One unit at one grid position, the centre by default.

    Raises:
        RenderError: for a unit or a position that the layer does not have.
    """
    row = centre(layer.grid_h) if y is None else y
    column = centre(layer.grid_w) if x is None else x
    _check_position(layer, row, column)
    return Objective((Term(layer, "point", _checked(layer, unit), row, column),))


def channel(layer: Layer, unit: int) -> Objective:
    """The mean of one unit over all grid positions.

    Raises:
        RenderError: for a unit that the layer does not have.
    """
    return Objective((Term(layer, "channel", _checked(layer, unit)),))


def logit(layer: Layer, unit: int) -> Objective:
    """One class of a classifier: a unit of a layer without a grid.

    Raises:
        RenderError: for a layer that has a grid, or a unit that it does not have.
    """
    if layer.grid_h * layer.grid_w != 1:
        raise RenderError(
            f"a logit needs a layer without a grid, {layer.name} has {layer.grid_h}x{layer.grid_w} "
            "positions; use point or channel"
        )
    return point(layer, unit)


def direction(layer: Layer, vector: Sequence[float], y: int | None = None, x: int | None = None) -> Objective:
    """A weighted sum of a layer's units, at one position or as the mean over positions.

    Args:
        layer: where it is read.
        vector: (unit,), one weight for each unit of the layer.
        y, x: both, or neither for the mean over positions.

    Raises:
        RenderError: when the vector's length is not the number of units, or y comes without x.
    """
    if len(vector) != layer.units:
        raise RenderError(f"a direction in {layer.name} needs {layer.units} weights, got {len(vector)}")
    if (y is None) != (x is None):
        raise RenderError(f"a position needs both y and x, got y={y}, x={x}")
    if y is not None and x is not None:
        _check_position(layer, y, x)
    return Objective((Term(layer, "direction", y=y, x=x, vector=tuple(map(float, vector))),))


def energy(layer: Layer, unit: int | None = None) -> Objective:
    """The mean square of one unit, or of all units of a layer: what DeepDream maximises.

    Raises:
        RenderError: for a unit that the layer does not have.
    """
    return Objective((Term(layer, "energy", -1 if unit is None else _checked(layer, unit)),))


def _checked(layer: Layer, unit: int) -> int:
    if not 0 <= unit < layer.units:
        raise RenderError(f"{layer.name} has {layer.units:,} units, numbered 0-{layer.units - 1}; got {unit}")
    return unit


def _check_position(layer: Layer, y: int, x: int) -> None:
    if not (0 <= y < layer.grid_h and 0 <= x < layer.grid_w):
        raise RenderError(
            f"{layer.name} has a {layer.grid_h}x{layer.grid_w} grid, numbered from 0; "
            f"got position y={y}, x={x}"
        )


def evaluate(objectives: Sequence[Objective], views: Mapping[str, View]) -> Tensor:
    """Score a batch.

    Args:
        objectives: one per image.
        views: activations of every layer that an objective reads, by name.

    Returns:
        (image,) float32, differentiable.
    """
    groups: dict[tuple[str, TermKind], list[tuple[int, Term]]] = {}
    for image, objective in enumerate(objectives):
        for term in objective.terms:
            groups.setdefault((term.layer.name, term.kind), []).append((image, term))
    first = next(iter(views.values())).values
    scores = torch.zeros(len(objectives), device=first.device)
    for (layer, kind), members in groups.items():
        view = views[layer]
        images = torch.tensor([image for image, _ in members], device=first.device)
        weights = torch.tensor([term.weight for _, term in members], device=first.device)
        terms = [term for _, term in members]
        scores = scores.index_add(0, images, _read(kind, view, images, terms).float() * weights)
    return scores


def _read(kind: TermKind, view: View, images: Tensor, terms: Sequence[Term]) -> Tensor:
    """(term,) values of terms of one kind in one layer, before their weights."""
    device = view.values.device
    if kind == "direction":
        return _project(view, images, terms)
    if kind == "energy":
        return torch.stack(
            [_energy(view.values[image], term) for image, term in zip(images, terms, strict=True)]
        )
    units = torch.tensor([term.unit for term in terms], device=device)
    if kind == "channel":
        return view.values[images, units].float().mean((1, 2))
    rows = torch.tensor([(term.y or 0) - view.top for term in terms], device=device)
    columns = torch.tensor([(term.x or 0) - view.left for term in terms], device=device)
    return view.values[images, units, rows, columns]


def _energy(values: Tensor, term: Term) -> Tensor:
    """Mean square of one image's activations (unit, y, x)."""
    chosen = values if term.unit < 0 else values[term.unit]
    return chosen.float().square().mean()


def _project(view: View, images: Tensor, terms: Sequence[Term]) -> Tensor:
    """(term,) dot products with the directions of terms."""
    weights = torch.tensor([term.vector for term in terms], device=view.values.device)
    projected = (view.values[images].float() * weights[:, :, None, None]).sum(1)
    return torch.stack(
        [
            plane.mean() if term.y is None or term.x is None else plane[term.y - view.top, term.x - view.left]
            for plane, term in zip(projected, terms, strict=True)
        ]
    )
