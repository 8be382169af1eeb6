"""Generators whose code a rendering may climb in: trained here, or brought by the user.

    prior = load_prior(Path("out/demo/prior/blocks.4.2.pt"))
    pictures = prior.decode(codes)

A prior trained here (`viz.prior_training`) decodes a layer's features, averaged to a few positions.
A factory `module:function` gives any other: a module whose `decode` or call takes codes
(image, *code_shape) and gives images on 0..1, or -1..1 where its `sample_range` says so; a decoder
of the diffusers kind, whose result has a `sample`, will do.
"""

from __future__ import annotations

import hashlib
import importlib
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import RenderError
from viz.decoder import Decoder

__all__ = ["Prior", "load_prior", "prior_path"]

DEVIATIONS = 3.0
"""A code unit stays within this many deviations of its mean over the dataset (Nguyen et al.)."""

LOOSE_BOUND = 3.0
"""Bound of a code whose statistics nobody knows; a diffusion model's code has deviation 1."""


@dataclass(frozen=True)
class Prior:
    """A generator, ready to be climbed in.

    Args:
        module: codes to images on 0..1.
        code_shape: of one image's code.
        lower: (*code_shape,) least value of each code unit.
        upper: likewise the largest.
        digest: SHA-256 of its weights.
    """

    module: nn.Module
    code_shape: tuple[int, ...]
    lower: Tensor
    upper: Tensor
    digest: str

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (image, *code_shape) to pictures (image, channel, y, x) on 0..255."""
        decode = getattr(self.module, "decode", self.module)
        images: Any = decode(codes)
        images = getattr(images, "sample", images)
        low, high = getattr(self.module, "sample_range", (0.0, 1.0))
        pictures: Tensor = 255 * ((images - low) / (high - low)).clamp(0, 1)
        return pictures

    def to(self, device: torch.device) -> Prior:
        """The prior on a device."""
        return Prior(
            self.module.to(device), self.code_shape, self.lower.to(device), self.upper.to(device),
            self.digest,
        )  # fmt: skip


def prior_path(out: Path, layer: str) -> Path:
    """Where the prior trained on a layer lies in OUT."""
    return out / "prior" / f"{layer.replace('/', '_')}.pt"


def load_prior(source: str | Path, weights: Path | None = None) -> Prior:
    """A prior from a checkpoint, or from a factory and a file of weights.

    Args:
        source: a `.pt` that `maxact prior train` wrote, or `module:factory`.
        weights: a state dict for the factory's module (.pt or .safetensors).

    Raises:
        RenderError: when it cannot be loaded or is not a generator.
    """
    text = str(source)
    if text.endswith(".pt"):
        return _from_checkpoint(Path(text))
    if ":" in text:
        return _from_factory(text, weights)
    raise RenderError(f"prior {text!r} is neither a .pt checkpoint nor module:factory")


def _from_checkpoint(path: Path) -> Prior:
    if not path.is_file():
        raise RenderError(f"there is no prior {path}; train one with `maxact prior train`")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        shape = content["shape"]
        module = Decoder(**shape)
        module.load_state_dict(content["decoder"])
    except (
        pickle.UnpicklingError,
        EOFError,
        OSError,
        RuntimeError,
        LookupError,
        TypeError,
    ) as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise RenderError(f"prior {path} is no checkpoint of a prior: {reason}") from error
    module.eval().requires_grad_(False)
    lower = module.mean - DEVIATIONS * module.deviation
    if content["least"] >= 0:
        lower = torch.zeros_like(lower)
    code_shape = (shape["units"], shape["grid"], shape["grid"])
    upper = module.mean + DEVIATIONS * module.deviation
    return Prior(module, code_shape, lower, upper, _digest(module))


def _from_factory(text: str, weights: Path | None) -> Prior:
    place, _, name = text.rpartition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        factory = getattr(importlib.import_module(place), name)
    except (ImportError, AttributeError) as error:
        raise RenderError(f"generator {text}: {error}") from error
    module = factory()
    shape = getattr(module, "code_shape", None)
    if not isinstance(module, nn.Module) or shape is None:
        raise RenderError(
            f"generator {text} gave {type(module).__name__}, expected an nn.Module with a "
            "code_shape"
        )
    if weights is not None:
        from pipeline.weights import fit_state, read_weights

        fit_state(module, read_weights(weights), str(weights))
    module.eval().requires_grad_(False)
    size = tuple(int(side) for side in shape)
    bounds = getattr(module, "code_bounds", None)
    lower, upper = bounds or (torch.full(size, -LOOSE_BOUND), torch.full(size, LOOSE_BOUND))
    return Prior(module, size, lower, upper, _digest(module))


def _digest(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
