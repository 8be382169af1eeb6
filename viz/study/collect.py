"""Cut the pictures of a study from an index: references and questions of each unit."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, zip_longest

import torch

from pipeline.errors import UsageError
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.progress import Reporter
from pipeline.query.index import Index, TopImage
from pipeline.query.indexed_images import sample_image_ids
from viz.planning.effective_field import effective_layer
from viz.recipes.base import Recipe
from viz.render.table import Rendered
from viz.study.conditions import Condition
from viz.study.content import StudyUnit
from viz.study.patches import Patches
from viz.study.pictures import Pictures
from viz.study.questions import MOST, Questions, choose_questions

__all__ = ["FIELD_PHOTOGRAPHS", "SPARE", "Chosen", "Collector"]

FIELD_PHOTOGRAPHS = 24
"""Photographs whose gradients determine the effective receptive field."""

SPARE = 6
"""Units for practice and catch trials."""

TRIED = 4 * SPARE
"""Units that are tried, as those with short lists cannot be used."""

Chosen = Sequence[tuple[Layer, Sequence[int]]]
"""Layers, and the units of each that are asked about."""

_DIGESTS = "SELECT digest FROM images WHERE image_id IN (SELECT unnest($ids))"


@dataclass(frozen=True, slots=True)
class Collector:
    """Cuts pictures.

    Args:
        explaining: index with the references.
        asking: index with the questions; the same object if it is the same index.
        network: of both.
        recipe: of the renderings.
        renderings: by layer and unit.
        pictures: receives all pictures.
    """

    explaining: Index
    asking: Index
    network: Network
    recipe: Recipe
    renderings: Mapping[tuple[str, int], Sequence[Rendered]]
    pictures: Pictures

    def units(
        self, chosen: Chosen, conditions: Sequence[Condition], reporter: Reporter
    ) -> tuple[list[StudyUnit], list[StudyUnit]]:
        """Cut the pictures of all units of a study, and of spare ones.

        A unit with too few photographs is left out, with a note. Spare units are other ones of the
        same layers, or units of the study where there are none.

        Raises:
            UsageError: if no unit is left.
        """
        patches = {layer.name: self._patches(layer) for layer, _ in chosen}
        studied = []
        with reporter.task("cutting pictures", sum(len(units) for _, units in chosen), "units") as task:
            for layer, numbers in chosen:
                for unit in numbers:
                    try:
                        studied.append(self._unit(*patches[layer.name], unit, conditions))
                    except UsageError as error:
                        reporter.note(f"left out: {error}")
                    task.advance()
        if not studied:
            raise UsageError(
                f"no unit is left to ask about in {self.explaining.out}: their lists have too few different "
                "photographs; index more of them, with longer lists (--top)"
            )
        others = self._spare(patches, islice(_other_units(chosen), TRIED))
        return studied, others or self._spare(patches, ((each.layer, each.unit) for each in studied))

    def _spare(
        self, patches: Mapping[str, tuple[Patches, Patches]], candidates: Iterable[tuple[str, int]]
    ) -> list[StudyUnit]:
        """Cut the top patches and the questions of the first units that have enough photographs."""
        spare: list[StudyUnit] = []
        for name, unit in candidates:
            if len(spare) == SPARE:
                break
            with suppress(UsageError):
                spare.append(self._unit(*patches[name], unit, (Condition(f"real {MOST}", MOST),)))
        return spare

    def _patches(self, layer: Layer) -> tuple[Patches, Patches]:
        """What cuts the references and the questions of a layer, to the size of the same field."""
        plain = Patches(self.explaining, self.network, layer, layer)
        photographs = plain.pictures(sample_image_ids(self.explaining, FIELD_PHOTOGRAPHS))
        field = effective_layer(self.network, layer, torch.stack(list(photographs.values())))
        explaining = Patches(self.explaining, self.network, layer, field)
        if self.asking is self.explaining:
            return explaining, explaining
        return explaining, Patches(self.asking, self.network, layer, field)

    def _unit(
        self, explaining: Patches, asking: Patches, unit: int, conditions: Sequence[Condition]
    ) -> StudyUnit:
        """Cut the pictures of one unit.

        Raises:
            UsageError: if there are too few photographs.
        """
        name = explaining.layer.name
        strongest = explaining.strongest(unit, MOST)
        if len(strongest) < MOST:
            raise UsageError(
                f"{explaining.index.out} has {len(strongest)} top photographs of {name} unit {unit}: "
                f"{MOST} are needed"
            )
        questions = choose_questions(asking, unit, strongest if asking is explaining else ())
        if asking is not explaining:
            self._refuse_shown(strongest, questions)
        real = [self.pictures.add(patch) for patch in explaining.at_peaks(strongest)]
        asked = [*questions.high, *questions.low]
        return StudyUnit(
            name,
            unit,
            [
                real[: condition.patches]
                if condition.patches is not None
                else self._rendered(explaining, unit)
                for condition in conditions
            ],
            strongest,
            questions,
            [self.pictures.add(patch) for patch in asking.at_peaks(asked)],
        )

    def _rendered(self, patches: Patches, unit: int) -> list[int]:
        rows = self.renderings[patches.layer.name, unit]
        return [self.pictures.add(patches.of_rendering(row, self.recipe)) for row in rows]

    def _refuse_shown(self, shown: Sequence[TopImage], questions: Questions) -> None:
        """Refuse questions about photographs that are references as well."""
        ends = (
            (self.explaining, shown),
            (self.asking, [*questions.high, *questions.low]),
        )
        there, here = (
            {digest for (digest,) in index.sql(_DIGESTS, ids=[image.image_id for image in images]).rows}
            for index, images in ends
        )
        if there & here:
            raise UsageError(
                f"{self.asking.out} has photographs that are among the references from {self.explaining.out}"
            )


def _other_units(chosen: Chosen) -> Iterator[tuple[str, int]]:
    """Layer and number of the units that are not asked about, mixed; from all layers in turn."""
    by_layer = []
    for layer, numbers in chosen:
        others = sorted(set(range(layer.units)) - set(numbers))
        random.Random(f"maxact study {layer.name}").shuffle(others)
        by_layer.append([(layer.name, unit) for unit in others])
    return (each for several in zip_longest(*by_layer) for each in several if each is not None)
