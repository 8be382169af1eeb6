"""Measures the paths of renderings against a unit's top patches in an index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.choices import Score, Side
from pipeline.errors import LayerError, SourceError, StoreError
from pipeline.layers.layer import Layer
from pipeline.query.index import TopImage
from pipeline.store.schemas import PATH_VERSION
from viz.inputs.inputs import Inputs
from viz.objectives.objective import Objective
from viz.paths.contributions import Contributions
from viz.paths.likeness import Reference, make_reference

__all__ = ["PATCHES", "PathFound", "Paths"]

PATCHES = 9
"""Top patches of a unit, of different photographs."""

LEAST_PATCHES = 3
"""Patches without which nothing is measured: with fewer, nothing can be left out."""


UNREADABLE = "the images cannot be read"
"""The only reason that may be gone when a path is measured again."""


@dataclass(frozen=True, slots=True)
class PathFound:
    """What is known of the path of a rendering.

    Args:
        path: see `Reference.path`; None where it was not measured.
        reason: why it cannot be measured; None where it was, or where it may be measured another time.
    """

    path: float | None = None
    reason: str | None = None

    @property
    def version(self) -> int | None:
        """Of the measure, where something is known."""
        return None if self.path is None and self.reason is None else PATH_VERSION


class Paths:
    """Measures pictures of units; what is found of a unit's patches is kept for its other renderings.

    Args:
        inputs: of the network; only with an index anything is measured.
        score: what the index keeps of a unit's positions.
    """

    def __init__(self, inputs: Inputs, score: Score = "max") -> None:
        self.inputs, self.score = inputs, score
        self.reasons: Counter[str] = Counter()
        self._references: dict[tuple[str, str], Reference | str] = {}
        self._contributions: dict[str, Contributions] = {}

    def measure(self, pictures: Tensor, objectives: Sequence[Objective]) -> list[PathFound]:
        """Compare the paths of pictures with those of their units' top patches.

        Args:
            pictures: (image, channel, y, x) uint8, whole inputs.
            objectives: one per picture.

        Returns:
            One for each picture; `reasons` counts those that are not measured.
        """
        found = [PathFound()] * len(objectives)
        known: dict[Layer, list[int]] = {}
        references = [self.reference(objective) for objective in objectives]
        for place, reference in enumerate(references):
            if not isinstance(reference, str):
                known.setdefault(objectives[place].terms[0].layer, []).append(place)
            elif self.inputs.has_index:  # of a folder without an index nobody expects it
                self.reasons[reference] += 1
                if reference != UNREADABLE:
                    found[place] = PathFound(reason=reference)
        for layer, places in known.items():
            chosen = [objectives[place] for place in places]
            values = self._of(layer)(pictures[places].float(), chosen)
            for number, place in enumerate(places):
                reference = references[place]
                assert not isinstance(reference, str)
                (path,) = reference.path([each[number : number + 1] for each in values])
                found[place] = PathFound(path)
        return found

    def reference(self, objective: Objective) -> Reference | str:
        """What a unit's patches have in common, or why it is not known."""
        term = objective.terms[0]
        key = (term.layer.name, str(objective))
        if key not in self._references:
            self._references[key] = self._unmeasurable(objective) or self._measure(objective)
        return self._references[key]

    def _unmeasurable(self, objective: Objective) -> str:
        term = objective.terms[0]
        if not self.inputs.has_index:
            return "no index is given"
        if len(objective.terms) != 1 or term.kind not in ("point", "channel") or term.unit < 0:
            return "the objective is not a single unit"
        if term.layer.name not in {layer.name for layer in self.inputs.index.layers}:
            return "the layer is not in the index"
        if term.kind == "point" and self.score == "mean" and term.layer.grid_h * term.layer.grid_w > 1:
            return "the index keeps means, which are at no position"
        return ""

    def _measure(self, objective: Objective) -> Reference | str:
        term = objective.terms[0]
        side: Side = "low" if term.weight < 0 else "high"
        try:
            contributions = self._of(term.layer)
            if not contributions.before:
                return "no layer with enough units is before the layer"
            own = self.inputs.chosen_images(term.layer, term.unit, side, PATCHES)
            if len(own) < LEAST_PATCHES:
                return "there are too few top images"
            read = self.inputs.pixels([image.image_id for image in own])
            pictures = torch.stack([read[image.image_id] for image in own]).float()
            values = contributions(pictures, [_at(objective, image) for image in own])
        except (SourceError, StoreError):
            return UNREADABLE
        except LayerError:
            return "no gradient flows through the layers before"
        return make_reference(values) or "the top patches have no path in common"

    def _of(self, layer: Layer) -> Contributions:
        if layer.name not in self._contributions:
            self._contributions[layer.name] = Contributions(self.inputs.network, layer)
        return self._contributions[layer.name]


def _at(objective: Objective, image: TopImage) -> Objective:
    """The objective at the position of an image's peak, if it is of a position."""
    term = objective.terms[0]
    if term.kind != "point":
        return objective
    return Objective((replace(term, y=image.y, x=image.x),))
