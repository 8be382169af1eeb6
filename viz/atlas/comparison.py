"""What the pages that compare an index with another show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from pipeline.query.index import Index
from pipeline.query.matching import Match, find_matches
from viz.atlas.collect import collect_layer
from viz.atlas.content import LayerContent, UnitContent
from viz.render.table import Rendered

__all__ = ["Comparison", "collect_comparison"]

Renders = Mapping[str, Mapping[int, Sequence[Rendered]]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The nearest units of another index.

    Args:
        out: folder of the other index.
        title: by which pages name it.
        matches: by layer and unit of this index.
        contents: of the layers of the other index that have one of the nearest units.
        units: of the other index, by layer and number.
    """

    out: Path
    title: str
    matches: Mapping[tuple[str, int], Match]
    contents: Sequence[LayerContent]
    units: Mapping[tuple[str, int], tuple[LayerContent, UnitContent]]

    def match(self, unit: UnitContent) -> Match | None:
        """The nearest unit; None if there is none."""
        return self.matches.get((unit.layer, unit.unit))

    def nearest(self, match: Match) -> tuple[LayerContent, UnitContent]:
        """Layer and content of the nearest unit."""
        return self.units[match.layer, match.unit]

    def image_ids(self) -> set[int]:
        """The images on the cards of the other index."""
        return {patch.image_id for _, unit in self.units.values() for patch in unit.patches}

    def summary(self, units: Iterable[UnitContent]) -> tuple[int, float | None]:
        """Number of units with a match, and the median share of images that they have in common."""
        found = [match.jaccard for unit in units if (match := self.match(unit))]
        return len(found), median(found) if found else None


def collect_comparison(
    index: Index, other: Index, contents: Sequence[LayerContent], renders: Renders, *, top: int
) -> Comparison:
    """Find and read the nearest units of another index.

    Args:
        index: open.
        other: of the same dataset.
        contents: of the layers of the atlas.
        renders: renderings of the other index, by layer and unit.
        top: images of the highest peaks to show.

    Raises:
        StoreError: if the other index is of another dataset.
    """
    chosen = {content.layer.name: [unit.unit for unit in content.units] for content in contents}
    matches = find_matches(index, other, chosen)
    wanted: dict[str, set[int]] = defaultdict(set)
    for match in matches.values():
        wanted[match.layer].add(match.unit)
    found = [
        collect_layer(
            other,
            layer,
            sorted(wanted[layer.name]),
            renders.get(layer.name, {}),
            top=top,
            correlate=False,
        )
        for layer in other.layers
        if layer.name in wanted
    ]
    # Only the cards are shown of them.
    found = [
        replace(content, units=tuple(replace(unit, low=(), strata=()) for unit in content.units))
        for content in found
    ]
    ours, theirs = (str(each.run["network"]["name"]) for each in (index, other))
    return Comparison(
        out=other.out,
        title=theirs if theirs != ours else f"{theirs} in {other.out.resolve().name}",
        matches=matches,
        contents=found,
        units={(unit.layer, unit.unit): (content, unit) for content in found for unit in content.units},
    )
