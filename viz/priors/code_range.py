"""Codes that are a layer's features, and the range that codes may climb in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.errors import BadImage, MaxactError, RenderError
from pipeline.images.decode import decode
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, device_of
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index
from pipeline.query.indexed_images import read_images, sample_image_ids
from viz.passes.fast_ops import QuickConvolutions
from viz.passes.watch import PASS_IMAGES, Watch

__all__ = ["CodeRange", "CodeSpread", "dataset_spread", "encode"]

DEVIATIONS = 3.0
"""A code unit stays within this many deviations of its mean (Nguyen et al. 2016)."""

LEAST_DEVIATION = 1e-4
"""Of a code unit that never changes."""

SAMPLED_IMAGES = 512
"""Of the dataset, whose features say how codes are spread."""


@dataclass(frozen=True, slots=True)
class CodeRange:
    """Where codes may go.

    Args:
        lower: (*code_shape,) least value of each code unit.
        upper: likewise the largest.
        origin: where they come from, in words.
        source: names what they were computed from, where that decides them but for rounding;
            stands for them in a fingerprint.
    """

    lower: Tensor
    upper: Tensor
    origin: str
    source: str = ""

    @classmethod
    def everywhere(cls, code_shape: tuple[int, ...], why: str) -> CodeRange:
        """No bounds at all."""
        infinite = torch.full(code_shape, torch.inf)
        return cls(-infinite, infinite, f"codes are not clipped: {why}")


@dataclass(frozen=True, slots=True)
class CodeSpread:
    """How codes are spread.

    Args:
        mean: (*code_shape,) of each code unit.
        deviation: likewise.
        rectified: no code is below zero, as behind a ReLU.
    """

    mean: Tensor
    deviation: Tensor
    rectified: bool

    @classmethod
    def of(cls, codes: Tensor) -> CodeSpread:
        """The spread of codes (image, *code_shape)."""
        deviation = codes.std(0, correction=0).clamp(min=LEAST_DEVIATION)
        return cls(codes.mean(0), deviation, bool(codes.min() >= 0))

    def range(self, of_what: str, source: str = "") -> CodeRange:
        """From 0 to mean + 3 deviations where codes are rectified, else mean +- 3 deviations.

        Args:
            of_what: the end of the words that say where the bounds come from.
            source: see `CodeRange`.
        """
        reach = DEVIATIONS * self.deviation
        lower = torch.zeros_like(reach) if self.rectified else self.mean - reach
        words = "0 to mean + 3 sd" if self.rectified else "mean +- 3 sd"
        return CodeRange(lower, self.mean + reach, f"codes stay within {words} {of_what}", source)


def encode(network: Network, layer: Layer, pictures: Tensor, grid: tuple[int, int]) -> Tensor:
    """A layer's features averaged to a grid of positions.

    Args:
        network: any.
        layer: of it.
        pictures: (image, channel, y, x) uint8.
        grid: rows and columns of the codes.

    Returns:
        (image, unit, *grid) float32 on the CPU.
    """
    with Watch(network, [layer], None) as watch, torch.no_grad(), QuickConvolutions():
        values = watch(pictures.to(device_of(network)))[layer.name].values
    return F.adaptive_avg_pool2d(values.float(), grid).cpu()


def dataset_spread(
    index: Index,
    network: Network,
    layer: Layer,
    code_shape: tuple[int, ...],
    reporter: Reporter | None = None,
) -> CodeSpread:
    """How a layer's features are spread over a sample of an indexed dataset.

    Args:
        index: open.
        network: that made it.
        layer: of the network, with `code_shape[0]` units.
        code_shape: (unit,) or (unit, y, x).
        reporter: shown the images.

    Raises:
        RenderError: when not one image can be read.
    """
    grid = (code_shape[1], code_shape[2]) if len(code_shape) == 3 else (1, 1)
    chosen = sample_image_ids(index, SAMPLED_IMAGES)
    decoder = partial(decode, preprocess=network.preprocess)
    codes, waiting = [], []
    title = f"read {layer.name} for the range of codes"
    with (reporter or Silent()).task(title, len(chosen), "images") as task:

        def skip_bad(image_id: int, error: MaxactError) -> None:
            if not isinstance(error, BadImage):
                raise error
            task.advance()

        for _, pixels in read_images(index, chosen, decoder, problem=skip_bad):
            task.advance()
            waiting.append(pixels)
            if len(waiting) == PASS_IMAGES:
                codes.append(encode(network, layer, torch.stack(waiting), grid))
                waiting = []
    if waiting:
        codes.append(encode(network, layer, torch.stack(waiting), grid))
    if not codes:
        raise RenderError(f"{index.out} has no image to take the range of codes from")
    return CodeSpread.of(torch.cat(codes).view(-1, *code_shape))
