"""Keeps a rendering like the patches that drive its unit most: in the statistics of features.

A picture that only drives a unit hard tells little: it is full of what no photograph has. So the
unit is driven to a limit that its best patch sets, no further, and mean and deviation of every
channel, at some layers on the way, are drawn to what they are on the unit's top patches. The same
is asked of a close-up: the patch alone, enlarged, through more of the network, which sees in it
what somebody sees who is shown the patch. Statistics of features as a likeness are those of
texture synthesis and style transfer (Gatys et al. 2015; means and deviations, Li et al. 2017,
"Demystifying Neural Style Transfer").

It is a caricature's likeness: what sets the patches apart from usual photographs is exaggerated.
People know a face sooner by a drawing that does so than by a true one (Brennan 1985, "Caricature
Generator"; Rhodes et al. 1987), and another network a unit: see bench/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from viz.canvas import Canvas
from viz.objectives.objective import Objective, View, evaluate
from viz.passes.score_term import Look, Views

__all__ = ["Likeness", "Patches", "statistics_layers"]

LAYERS = 5
"""Layers whose statistics count: from early to late each sees larger shapes."""

BELL = 2.5
"""Standard deviations of the window's weight in one side of the effective receptive field."""

CLOSE = "close-up of "
"""Before the name of a layer that saw close-ups."""

LEAST_SHARE = 0.5
"""Of a layer's mean spread, which no channel's is taken to be less than: what is rare among some
dozen photographs would otherwise outweigh the rest."""

LEAST_SPREAD = 1e-3
"""The same of a whole layer, and of a unit."""

LEAST_VARIANCE = 1e-6
"""Added to a variance: the root of 0 has no slope."""


@dataclass(frozen=True, slots=True)
class Patches:
    """What the renderings of a batch should be like.

    Args:
        top: of each rendering, (patch, channel, y, x) float on 0..255, windows of the canvas.
        usual: (image, channel, y, x) windows of any photographs, whose spread is the measure.
    """

    top: Sequence[Tensor]
    usual: Tensor


@dataclass(frozen=True, slots=True)
class _Statistics:
    """Of one layer: mean and deviation over positions, (image, unit) each, or of their spread."""

    mean: Tensor
    deviation: Tensor

    def distance(self, wanted: _Statistics, spread: _Statistics) -> Tensor:
        """(image,) mean squared differences, in units of the spread."""
        by_mean = ((self.mean - wanted.mean) / spread.mean).square().mean(1)
        by_deviation = ((self.deviation - wanted.deviation) / spread.deviation).square().mean(1)
        return by_mean + by_deviation

    def beyond(self, usual: _Statistics, times: float) -> _Statistics:
        """The mean over images, that many times as far from the usual mean as it is."""
        mean, deviation = (
            norm.mean(0) + times * (own.mean(0) - norm.mean(0))
            for own, norm in zip(_parts(self), _parts(usual), strict=True)
        )
        return _Statistics(mean, deviation.clamp(min=LEAST_VARIANCE**0.5))


def statistics_layers(network: Network, layer: Layer) -> tuple[list[Layer], list[Layer]]:
    """Layers on the way to a layer, itself the last; layers of the network, for close-ups.

    Both are the last blocks of the stages that the network's architecture shows, spread evenly
    where there are many; layers without a grid are left out. So is the last stage for close-ups,
    unless it is the only one: what it sees differs most from photograph to photograph.
    """
    usual = [each for each in choose_layers(network, receptive_fields=False) if _has_grid(each)]
    names = [each.name for each in usual]
    names += [] if layer.name in names else [layer.name]
    ordered = [each.name for each in choose_layers(network, names, receptive_fields=False)]
    before = set(ordered[: ordered.index(layer.name)])
    way = [*_stage_ends([each for each in usual if each.name in before]), layer]
    same_stage = len(way) > 1 and _shape(way[-2]) == _shape(layer)
    way = [*way[:-2], layer] if same_stage else way
    whole = _stage_ends([layer if each.name == layer.name else each for each in usual])
    close = _spread(whole)
    return _spread(way), close[:-1] or close


def _shape(layer: Layer) -> tuple[int, int, int]:
    return layer.units, layer.grid_h, layer.grid_w


def _stage_ends(layers: Sequence[Layer]) -> list[Layer]:
    """The last of every run of layers of one shape."""
    return [list(run)[-1] for _, run in groupby(layers, key=_shape)]


def _has_grid(layer: Layer) -> bool:
    return layer.grid_h * layer.grid_w > 1


def _spread(layers: Sequence[Layer]) -> list[Layer]:
    """At most `LAYERS` of them, evenly, the first and the last among them."""
    if len(layers) <= LAYERS:
        return list(layers)
    places = torch.linspace(0, len(layers) - 1, LAYERS).round().long().tolist()
    return [layers[place] for place in places]


class Likeness:
    """Scores of pictures that are driven so far, and drawn to the statistics of patches.

    Args:
        target: the layer that the objectives read.
        way: layers of the window's statistics.
        close: layers of the close-up's statistics.
        canvas: what is painted; its box is the effective receptive field.
        drive: weight of what is missing to the best image's score.
        reach: share of that score to which the unit is driven.
        weight: of the window's statistics.
        close_weight: of the close-up's.
        close_side: of a close-up, in pixels; the whole input's where the network takes no other.
        caricature: times the patches' distance from usual photographs that is wanted; 1 is theirs.
        whole: height and width of the network's input.
    """

    group = 1

    def __init__(
        self,
        target: Layer,
        way: Sequence[Layer],
        close: Sequence[Layer],
        canvas: Canvas,
        *,
        drive: float,
        reach: float,
        weight: float,
        close_weight: float,
        close_side: int,
        caricature: float,
        whole: tuple[int, int],
    ) -> None:
        self.target, self.canvas = target, canvas
        self.way, self.close = tuple(way), tuple(close) if close_weight else ()
        self.drive, self.reach = drive, reach
        self.weight, self.close_weight = weight, close_weight
        self.close_size, self.whole = (close_side, close_side), whole
        self.caricature = caricature
        self._wanted: list[dict[str, _Statistics]] = []
        self._spread: dict[str, _Statistics] = {}
        self._limit = torch.empty(0)
        self._unit_spread = torch.empty(0)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers that are read, besides those of the objectives."""
        return tuple({each.name: each for each in (*self.way, *self.close)}.values())

    @property
    def window_layers(self) -> tuple[str, ...]:
        """Names of those that are read on the window."""
        return tuple(dict.fromkeys([*(each.name for each in self.way), self.target.name]))

    def prepare(self, look: Look, patches: Patches, objectives: Sequence[Objective]) -> None:
        """Take the patches as what to be like.

        Args:
            look: at pictures, without a gradient.
            patches: one set per rendering of the batch.
            objectives: one per rendering.
        """
        self._fit_close_up(look, patches.usual[:2])
        usual = self._describe(look(patches.usual, self.window_layers), look, patches.usual)
        self._spread = {
            key: _Statistics(*(_spread_of(part) for part in _parts(each))) for key, each in usual.items()
        }
        best = []
        for objective, top in zip(objectives, patches.top, strict=True):
            views = look(top, self.window_layers)
            best.append(evaluate([objective] * len(top), views).max())
            found = self._describe(views, look, top)
            self._wanted.append(
                {key: each.beyond(usual[key], self.caricature) for key, each in found.items()}
            )
        unit_means = look(patches.usual, [self.target.name])[self.target.name].values.float()
        spread = unit_means.mean((2, 3)).std(0).clamp(min=LEAST_SPREAD)
        one = View(spread.view(1, -1, 1, 1).expand(1, -1, self.target.grid_h, self.target.grid_w))
        scales = [evaluate([each], {self.target.name: one}) for each in objectives]
        self._unit_spread = torch.cat(scales).abs().clamp(min=LEAST_SPREAD)
        self._limit = self.reach * torch.stack(best)

    def _fit_close_up(self, look: Look, pictures: Tensor) -> None:
        """Transformers, and networks that end in a fixed grid, take inputs of one size only."""
        if self.close:
            try:
                look(self._close_up(pictures), [each.name for each in self.close])
            except (RuntimeError, AssertionError, ValueError, IndexError):
                self.close_size = self.whole

    def __call__(
        self, scores: Tensor, views: Views, pictures: Tensor, images: Sequence[int], look: Look
    ) -> Tensor:
        """What is to rise instead of the scores."""
        chosen = list(images)
        missing = (self._limit[chosen] - scores).clamp(min=0) / self._unit_spread[chosen]
        total = -self.drive * missing
        for key, found in self._describe(views, look, pictures).items():
            wanted = _Statistics(
                torch.stack([self._wanted[image][key].mean for image in chosen]),
                torch.stack([self._wanted[image][key].deviation for image in chosen]),
            )
            is_close = key.startswith(CLOSE)
            weight = self.close_weight if is_close else self.weight
            layers = len(self.close) if is_close else len(self.way)
            total = total - weight / layers * found.distance(wanted, self._spread[key])
        return total

    def _describe(self, views: Views, look: Look, pictures: Tensor) -> dict[str, _Statistics]:
        """Statistics of windows, and of their close-ups, by layer."""
        found = {each.name: self._statistics(views[each.name].values.float(), bell=True) for each in self.way}
        if self.close:
            close = look(self._close_up(pictures), [each.name for each in self.close])
            for each in self.close:
                values = close[each.name].values.float()
                found[CLOSE + each.name] = self._statistics(values, bell=False)
        return found

    def _statistics(self, values: Tensor, *, bell: bool) -> _Statistics:
        """Of maps (image, unit, y, x), weighted by a bell around the target's centre."""
        weight = self._bell(values) if bell else torch.ones_like(values[0, 0])
        weight = weight / weight.sum()
        mean = (values * weight).sum((2, 3))
        off = values - mean[:, :, None, None]
        variance = (off.square() * weight).sum((2, 3))
        return _Statistics(mean, (variance + LEAST_VARIANCE).sqrt())

    def _bell(self, values: Tensor) -> Tensor:
        """(y, x) weights of a map of the window."""
        box, sides = self.canvas.box, (self.canvas.height, self.canvas.width)
        centres = ((box.top + box.bottom) / 2, (box.left + box.right) / 2)
        fields = (box.bottom - box.top, box.right - box.left)
        bells = []
        for length, side, middle, field in zip(values.shape[2:], sides, centres, fields, strict=True):
            place = (torch.arange(length, device=values.device) + 0.5) / length * side
            bells.append(torch.exp(-0.5 * ((place - middle) / (field / BELL)).square()))
        return bells[0][:, None] * bells[1][None]

    def _close_up(self, pictures: Tensor) -> Tensor:
        """The effective receptive field alone, enlarged."""
        box = self.canvas.box
        rows = slice(max(0, round(box.top)), round(box.bottom))
        columns = slice(max(0, round(box.left)), round(box.right))
        return F.interpolate(pictures[:, :, rows, columns], self.close_size, mode="bicubic")


def _spread_of(values: Tensor) -> Tensor:
    """(unit,) standard deviations over (image, unit), none of them tiny."""
    spread = values.std(0)
    return spread.clamp(min=max(LEAST_SPREAD, LEAST_SHARE * float(spread.mean())))


def _parts(statistics: _Statistics) -> tuple[Tensor, Tensor]:
    return statistics.mean, statistics.deviation
