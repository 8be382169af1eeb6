"""`typical`, the default: what a unit's top patches have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from viz.choices import Match, Relevance, ReluRule, Source
from viz.recipes.fourier import Fourier
from viz.recipes.patches import field_canvas, windows

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.layers.layer import Layer
    from viz.ascent.history import AscentResult
    from viz.ascent.optimisers import Optimiser
    from viz.ascent.score_terms import ScoreTerm
    from viz.canvas import Canvas
    from viz.inputs.batch import Batch
    from viz.inputs.inputs import Inputs
    from viz.inputs.top_images import TopImages
    from viz.objectives.objective import Objective

__all__ = ["RECIPES", "Typical"]

MID_GREY = 127.5
"""The grey around which contrast is raised."""

COMPONENTS = 50
"""Of the principal component analysis before top images are clustered, as in recipe `facets`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Typical(Fourier):
    """What the unit's top patches have in common: activation up to the best one's, similar features.

    The picture starts from the mean of the patches. Its score rises with the unit's activation up
    to that of the best patch (three times that where the receptive field is the whole input) and
    falls with the distance of its features' means and deviations, in layers up to the unit's own
    and in a close-up, to those of the patches, exaggerated as in a caricature. See
    `viz.ascent.likeness`; bench/tuning.md measures what each part contributes.

    Args:
        rate: learning rate of NAdam in the first step.
        last_rate: share of the learning rate that is left in the last step; in between it falls by half a
            cosine. 1 keeps it.
        images: top patches whose statistics a rendering should have.
        clusters: renderings of a unit, one for each cluster of its `images` x `clusters` top
            patches.
        weigh: power of a patch's activation, above that of usual photographs, by which the patch counts
            in the statistics; 0 counts all alike.
        drive: weight of the activation, up to its limit.
        reach: the activation's limit, as a share of the best patch's.
        reach_whole: the same where the receptive field is the whole input; higher, since most of
            what a photograph shows is then irrelevant to the unit.
        likeness: weight of the feature statistics in layers up to the unit's own.
        close_up: weight of the feature statistics of the patch alone, enlarged; 0 is faster.
        close_side: side of the enlarged patch, in pixels.
        caricature: factor on the distance of the patches' statistics from those of usual
            photographs; 1 does not exaggerate.
        match: what is compared of a channel: `moments`, its mean and deviation over positions, or
            `sorted`, its sorted values, as in VITAL (Gorgun et al. 2025).
        relevance: `on` weights the channels of the layers before the unit's own by what drives the
            unit in its top patches, as VITAL does; not those of the close-up.
        focus: share of the weight of a patch's positions that goes by what they contribute to the unit's
            activation (gradient times activation); 0 counts all positions alike.
        mixtures: weight of random combinations of channels, as a share of the weight of the channels alone;
            they tell which channels are active together, as Gram matrices do.
        edges: weight of the differences between neighbouring pixels of the patch, sorted, at several scales;
            gives pictures the contrast and the smooth areas of photographs.
        contrast: factor on the contrast of the mean patch at the start.
        smooth: standard deviation of the final blur, in pixels; 0 is none.
    """

    source: ClassVar[Source | None] = "index"

    name: str = "typical"
    relu: ReluRule = "plain"
    relu_steps: int = 0
    steps: int = 48
    rate: float = 0.03
    last_rate: float = 1.0
    images: int = 16
    clusters: int = 1
    weigh: float = 1.0
    drive: float = 1.0
    reach: float = 1.0
    reach_whole: float = 3.0
    likeness: float = 1.0
    close_up: float = 1.0
    close_side: int = 112
    caricature: float = 2.5
    match: Match = "moments"
    relevance: Relevance = "off"
    focus: float = 0.5
    mixtures: float = 0.0
    edges: float = 0.0
    contrast: float = 2.0
    smooth: float = 0.5

    def __post_init__(self) -> None:
        Fourier.__post_init__(self)
        self._require(0 <= self.last_rate <= 1, "last_rate", "0 to 1")
        self._require_positive("images", "clusters", "reach", "reach_whole")
        self._require_at_least_zero("drive", "likeness", "close_up", "contrast", "smooth")
        self._require_at_least_zero("caricature", "weigh", "mixtures", "edges")
        self._require(0 <= self.focus <= 1, "focus", "0 to 1")
        self._require(self.close_side >= 32, "close_side", "32 or more")
        self._require(self.variety == 1, "variety", "1: ask for clusters instead")

    @property
    def renderings(self) -> int:
        """One for each cluster."""
        return self.clusters

    @property
    def top_images(self) -> int:
        """As many for each rendering."""
        return self.images * self.clusters

    def divide(self, top: TopImages) -> list[TopImages]:
        """All of them, or clusters."""
        return [top] if self.clusters == 1 else top.facets(self.clusters, self.images, COMPONENTS)

    def canvas(self, inputs: Inputs, layer: Layer, objective: Objective) -> Canvas:
        """A window around the effective receptive field, with a margin for the random views.

        Raises:
            RenderError: for an objective without top images in the index.
        """
        return self._with_margin(field_canvas(self.name, inputs, layer, objective))

    def start(self, batch: Batch) -> Tensor:
        """The spectra of mean patches of raised contrast, and noise."""
        import torch

        from viz.ascent.spectrum import picture_to_spectrum

        noise = Fourier.start(self, batch)
        means = torch.stack([top.mean for top in batch.top_images])
        pictures = (MID_GREY + self.contrast * (means - MID_GREY)).clamp(0, 255)
        return picture_to_spectrum(pictures, self.decay) + noise

    def optimiser(self) -> Optimiser:
        """NAdam, which looks ahead, at a rate that falls."""
        from viz.ascent.optimisers import Adam
        from viz.ascent.rates import falling_rates

        return Adam(falling_rates(self.rate, self.last_rate, self.steps), nesterov=True)

    def score_term(self, batch: Batch) -> ScoreTerm:
        """The likeness to the top patches, which limits the activation too."""
        from viz.ascent.likeness import Likeness

        inputs, canvas = batch.inputs, batch.canvas
        preprocess = inputs.network.preprocess
        return Likeness(
            batch.layer,
            *inputs.statistics_layers(batch.layer),
            canvas,
            [windows(top, canvas) for top in batch.top_images],
            partial(inputs.usual_windows, canvas),
            activation_weight=self.drive,
            reach=self.reach_whole if canvas.field_is_whole else self.reach,
            weight=self.likeness,
            close_weight=self.close_up,
            close_side=self.close_side,
            caricature=self.caricature,
            whole=(preprocess.height, preprocess.width),
            match=self.match,
            relevance=self.relevance,
            weigh=self.weigh,
            focus=self.focus,
            mixtures=self.mixtures,
            edges=self.edges,
            keep=inputs.keep,
        )

    def finish(self, result: AscentResult, batch: Batch) -> AscentResult:
        """The pictures without detail finer than the likeness determines."""
        from viz.pixels import blur

        last, best = (blur(each, self.smooth) for each in (result.pictures, result.best))
        return replace(result, pictures=last, best=best)


RECIPES = (Typical(),)
