"""`accentuate`: as `fourier`, from a top image and near it in feature space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from viz.choices import Source
from viz.recipes.fourier import Fourier
from viz.recipes.one_by_one import OneByOne

if TYPE_CHECKING:
    from torch import Tensor

    from viz.ascent.score_terms import ScoreTerm
    from viz.inputs.batch import Batch

__all__ = ["RECIPES", "Accentuate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accentuate(OneByOne, Fourier):
    """Feature accentuation: a top image, changed to activate the unit more and to stay like itself.

    Hamblin et al. 2024; a score term keeps the picture's features at the unit's layer near those of
    the image.

    Args:
        images: renderings of a unit, one from each of its top images.
        near: weight of the distance to the image in feature space, in units of the image's score.
    """

    source: ClassVar[Source | None] = "index"

    name: str = "accentuate"
    steps: int = 100
    rate: float = 0.02
    images: int = 1
    near: float = 1.0

    def __post_init__(self) -> None:
        Fourier.__post_init__(self)
        self._require_positive("images")
        self._require_at_least_zero("near")
        self._require(self.variety == 1, "variety", "1: each image has its own start")

    @property
    def compares_features(self) -> bool:
        """Whether the distance to the start counts."""
        return self.near > 0

    def start(self, batch: Batch) -> Tensor:
        """The spectra of the images."""
        from viz.ascent.spectrum import picture_to_spectrum

        # The noise is not used, but the views that are drawn next depend on it being drawn.
        Fourier.start(self, batch)
        return picture_to_spectrum(self._pictures(batch), self.decay)

    def score_term(self, batch: Batch) -> ScoreTerm | None:
        """The distance to the start."""
        from viz.ascent.score_terms import Distance

        if self.near == 0:
            return None
        return Distance(batch.layer.name, self.near, self._pictures(batch))

    def _pictures(self, batch: Batch) -> Tensor:
        import torch

        return torch.stack([top.pictures[0] for top in batch.top_images])


RECIPES = (Accentuate(),)
