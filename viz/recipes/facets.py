"""`facets`: as `octaves`, one rendering from each cluster of a unit's top images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from viz.choices import Source
from viz.recipes.octaves import Octaves
from viz.recipes.option_text import Octave

if TYPE_CHECKING:
    from viz.ascent.loop import Ascent
    from viz.inputs.batch import Batch
    from viz.inputs.top_images import TopImages

__all__ = ["RECIPES", "Facets"]

FACET_OCTAVES = (
    Octave(100, 1.0, (1.1, 0.6), (10.0, 6.0)),
    Octave(60, 1.05, (0.6, 0.4), (6.0, 3.0)),
    Octave(40, 1.05, (0.4, 0.0), (3.0, 0.5)),
)
"""Shorter than the post's: the start already shows the large shapes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facets(Octaves):
    """Multifaceted: one rendering from the mean of each cluster of the unit's top images.

    Nguyen, Yosinski and Clune 2016. The images are clustered by the network's penultimate
    features; total variation keeps the start's smoothness.

    Args:
        clusters: renderings of a unit; fewer where it has too few top images.
        nearest: images around each cluster's centre whose mean is the start.
        components: of the principal component analysis before the clustering.
        variation: strength of the total-variation denoising after each step, 0..255; 0 is none.
    """

    source: ClassVar[Source | None] = "index"

    name: str = "facets"
    octaves: tuple[Octave, ...] = FACET_OCTAVES
    clusters: int = 4
    nearest: int = 15
    components: int = 50
    variation: float = 1.0

    def __post_init__(self) -> None:
        Octaves.__post_init__(self)
        self._require_positive("clusters", "nearest", "components")
        self._require_at_least_zero("variation")

    @property
    def renderings(self) -> int:
        """One for each cluster."""
        return self.clusters

    @property
    def top_images(self) -> None:
        """All: they are clustered."""
        return None

    @property
    def denoising(self) -> float:
        """Strength of total-variation denoising after each step."""
        return self.variation

    def divide(self, top: TopImages) -> list[TopImages]:
        """The mean of each cluster, the largest first."""
        facets = top.facets(self.clusters, self.nearest, self.components)
        return [facet.averaged() for facet in facets]

    def ascent(self, batch: Batch) -> Ascent:
        """From the means of clusters."""
        import torch

        from viz.pixels import shrink

        means = torch.stack([top.mean for top in batch.top_images])
        return self._by_octaves(batch, shrink(means, *batch.canvas.size))


RECIPES = (Facets(),)
