"""Encode images as features of a layer, and compute the range of codes from their statistics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.errors import BadImage, MaxactError, RenderingFailed
from pipeline.images.decode import decode
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, device_of
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index
from pipeline.query.indexed_images import read_images, sample_image_ids
from viz.passes.fast_ops import QuickConvolutions
from viz.passes.watch import PASS_IMAGES, Watch

__all__ = ["CodeRange", "CodeStatistics", "dataset_statistics", "encode"]

DEVIATIONS = 3.0
"""Code units are limited to this many standard deviations from their mean (Nguyen et al. 2016)."""

MIN_DEVIATION = 1e-4
"""Standard deviation that is assumed for a code unit of constant value."""

SAMPLED_IMAGES = 512
"""Number of images of the dataset from which statistics of codes are computed."""


@dataclass(frozen=True, slots=True)
class CodeRange:
    """Bounds of codes.

    Args:
        lower: (*code_shape,) minimum of each code unit.
        upper: (*code_shape,) maximum of each code unit.
        origin: description of where the bounds come from; part of fingerprints.
        source: identifies the data that the bounds were computed from; replaces the bounds in
            fingerprints, as they may differ by rounding. Empty if there is no such data.
    """

    lower: Tensor
    upper: Tensor
    origin: str
    source: str = ""

    @classmethod
    def unbounded(cls, code_shape: tuple[int, ...], reason: str) -> CodeRange:
        """Return infinite bounds.

        Args:
            code_shape: of one image's code.
            reason: why there are no bounds, for `origin`.
        """
        infinite = torch.full(code_shape, torch.inf)
        return cls(-infinite, infinite, f"codes are not clipped: {reason}")


@dataclass(frozen=True, slots=True)
class CodeStatistics:
    """Statistics of codes.

    Args:
        mean: (*code_shape,) mean of each code unit.
        deviation: (*code_shape,) standard deviation of each code unit.
        rectified: whether no code is negative, as after a ReLU.
    """

    mean: Tensor
    deviation: Tensor
    rectified: bool

    @classmethod
    def of(cls, codes: Tensor) -> CodeStatistics:
        """Compute the statistics of codes (image, *code_shape)."""
        deviation = codes.std(0, correction=0).clamp(min=MIN_DEVIATION)
        return cls(codes.mean(0), deviation, bool(codes.min() >= 0))

    def range(self, description: str, source: str = "") -> CodeRange:
        """Return the bounds mean +- 3 deviations, or 0 to mean + 3 deviations for rectified codes.

        Args:
            description: of the statistics; the end of `CodeRange.origin`.
            source: see `CodeRange`.
        """
        reach = DEVIATIONS * self.deviation
        lower = torch.zeros_like(reach) if self.rectified else self.mean - reach
        bounds = "0 to mean + 3 sd" if self.rectified else "mean +- 3 sd"
        return CodeRange(lower, self.mean + reach, f"codes stay within {bounds} {description}", source)


def encode(network: Network, layer: Layer, pictures: Tensor, grid: tuple[int, int]) -> Tensor:
    """Compute the features of a layer and average them over a grid.

    Args:
        network: in eval mode.
        layer: of the network.
        pictures: (image, channel, y, x) uint8, the network's input.
        grid: rows and columns of the codes.

    Returns:
        (image, unit, *grid) float32 on the CPU.
    """
    with Watch(network, [layer], None) as watch, torch.no_grad(), QuickConvolutions():
        values = watch(pictures.to(device_of(network)))[layer.name].values
    return F.adaptive_avg_pool2d(values.float(), grid).cpu()


def dataset_statistics(
    index: Index,
    network: Network,
    layer: Layer,
    code_shape: tuple[int, ...],
    reporter: Reporter | None = None,
) -> CodeStatistics:
    """Compute the statistics of a layer's features over a sample of the indexed images.

    Args:
        index: open index.
        network: the network of the index.
        layer: of the network, with `code_shape[0]` units.
        code_shape: (unit,) or (unit, y, x).
        reporter: receives the progress.

    Raises:
        RenderError: if no image can be decoded.
    """
    grid = (code_shape[1], code_shape[2]) if len(code_shape) == 3 else (1, 1)
    chosen = sample_image_ids(index, SAMPLED_IMAGES)
    decoder = partial(decode, preprocess=network.preprocess)
    codes, waiting = [], []
    title = f"compute the code range of {layer.name}"
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
        raise RenderingFailed(
            f"none of the {len(chosen)} sampled images of {index.out} can be decoded; "
            f"run `maxact check {index.out}`"
        )
    return CodeStatistics.of(torch.cat(codes).view(-1, *code_shape))
