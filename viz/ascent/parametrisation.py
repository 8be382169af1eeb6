"""What is optimised instead of pictures, and how pictures follow from it.

Pixels     the pictures themselves; they may grow by octaves
Spectrum   a decorrelated spectrum
Phases     the phases of a spectrum of fixed magnitudes
Polar      the phases of photographs' spectra, and how much of each magnitude is left
Codes      the codes of a generator
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from viz.ascent.spectrum import phases_to_picture, polar_to_picture, spectrum_to_picture
from viz.pixels import enlarge, shrink
from viz.priors.prior import Prior

__all__ = ["Codes", "Parametrisation", "Phases", "Pixels", "Polar", "Spectrum"]


class Parametrisation:
    """Turns values (image, ...) into pictures, image by image."""

    def pictures(self, values: Tensor) -> Tensor:
        """(image, channel, y, x) on 0..255, differentiable."""
        raise NotImplementedError

    def grow(self, values: Tensor, step: int) -> Tensor:
        """The values as a step starts with them, for those whose size changes."""
        return values


class Pixels(Parametrisation):
    """Pictures as they are.

    Args:
        sizes: height and width to which the pictures are enlarged before some steps, by step.
        photographs: (image, channel, y, x) whose detail, lost while a picture was small, is added
            when it is enlarged.
    """

    def __init__(
        self, sizes: Mapping[int, tuple[int, int]] | None = None, photographs: Tensor | None = None
    ) -> None:
        self.sizes, self.photographs = sizes or {}, photographs

    def pictures(self, values: Tensor) -> Tensor:
        """The values."""
        return values

    def grow(self, values: Tensor, step: int) -> Tensor:
        """Enlarge where an octave begins."""
        if step not in self.sizes:
            return values
        size = self.sizes[step]
        larger = enlarge(values, *size)
        if self.photographs is None or larger is values:
            return larger
        photographs = self.photographs.to(values.device)
        small = shrink(photographs, *values.shape[2:])
        lost = shrink(photographs, *size) - enlarge(small, *size)
        return (larger + lost).clamp(0, 255)


class Spectrum(Parametrisation):
    """Lucid's decorrelated spectrum, see `viz.ascent.spectrum.spectrum_to_picture`."""

    def __init__(self, size: tuple[int, int], decay: float) -> None:
        self.size, self.decay = size, decay

    def pictures(self, values: Tensor) -> Tensor:
        """Pictures of that height and width."""
        return spectrum_to_picture(values, *self.size, self.decay)


class Phases(Parametrisation):
    """The phases of a spectrum, see `viz.ascent.spectrum.phases_to_picture`."""

    def __init__(self, size: tuple[int, int], magnitudes: Tensor) -> None:
        self.size, self.magnitudes = size, magnitudes

    def pictures(self, values: Tensor) -> Tensor:
        """Pictures of that height and width."""
        return phases_to_picture(values, self.magnitudes, *self.size)


class Polar(Parametrisation):
    """Phases of spectra, and the logits of the shares of their magnitudes (Hamblin et al. 2024).

    Values are (image, channel, y, x // 2 + 1, 2): phase in radians, and logit. All images of the batch stay
    until the last step, since each has its own magnitudes.

    Args:
        size: height and width of the pictures.
        magnitudes: (image, channel, y, x // 2 + 1) of each image, see `viz.ascent.spectrum.polar_to_picture`.
    """

    def __init__(self, size: tuple[int, int], magnitudes: Tensor) -> None:
        self.size, self.magnitudes = size, magnitudes

    def pictures(self, values: Tensor) -> Tensor:
        """Pictures of that height and width."""
        phases, logits = values.unbind(-1)
        return polar_to_picture(self.magnitudes * torch.sigmoid(logits), phases, *self.size)


class Codes(Parametrisation):
    """Codes of a generator, whose images are resized."""

    def __init__(self, size: tuple[int, int], generator: Prior) -> None:
        self.size, self.generator = size, generator

    def pictures(self, values: Tensor) -> Tensor:
        """Pictures of that height and width, decoded one by one so that none depends on others."""
        decoded = torch.cat([self.generator.decode(code[None]) for code in values])
        return shrink(decoded, *self.size)
