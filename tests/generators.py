"""Generators as a user would bring them, small: of features, of latents, and broken ones."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn

CODE = (16, 3, 3)
"""Features of the layer `late` of `tests.climbers`, averaged to 3x3."""


class Features(nn.Module):
    """Decodes features of a layer; its images are on 0..1."""

    code_shape = CODE
    code_layer = "late"

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.grow = nn.ConvTranspose2d(16, 8, 4, stride=4)
            self.paint = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, codes: Tensor) -> Tensor:
        return torch.sigmoid(self.paint(torch.relu(self.grow(codes))))


class Elsewhere(Features):
    """Its codes are another network's features; it says how they are spread."""

    code_layer = "fc6"
    code_mean = 0.5
    code_deviation = torch.full((16, 1, 1), 0.25)
    code_rectified = True


class Unsaid(Features):
    """Says nothing of its codes but their shape."""

    code_layer = None


class Shapeless(Unsaid):
    """Does not even say that."""

    code_shape = None


class AutoencoderKL(nn.Module):
    """The interface of the class of that name in diffusers: latents in, an object with a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(
            latent_channels=4,
            sample_size=12,
            block_out_channels=(8, 8, 8),
            scaling_factor=0.25,
            shift_factor=None,
        )
        self.decoder = nn.ConvTranspose2d(4, 3, 4, stride=4)

    def decode(self, z: Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=self.decoder(z))


class Detached(Unsaid):
    """Keeps its gradient to itself."""

    def forward(self, codes: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(codes)


class LastAxis(Unsaid):
    """Puts the channels last."""

    def forward(self, codes: Tensor) -> Tensor:
        return super().forward(codes).permute(0, 2, 3, 1)


class Statues(Unsaid):
    """Gives a word instead of an image."""

    def forward(self, codes: Tensor) -> str:  # type: ignore[override]
        return "a picture"


class Misfit(Unsaid):
    """Declares a spread that no code can have."""

    code_deviation = torch.ones(7)


def raising() -> nn.Module:
    raise FileNotFoundError("no checkpoint at the usual place")


def number() -> int:
    return 7
