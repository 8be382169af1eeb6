"""Generators that the user brings: `module:factory`, and a file of weights.

    def make():                       # my_generator.py
        return Generator()            # an nn.Module that starts untrained, or trained

    maxact render OUT --recipe prior --generator my_generator:make --generator-weights g.safetensors

The module's `decode`, or the module itself, takes codes (image, *code_shape) and gives images
(image, channel, y, x). It may say more of itself, each by an attribute:

    code_shape        of one image's code, such as (4096,) or (256, 6, 6)
    sample_range      of its images' values; (0, 1) where nothing is said
    code_layer        the layer of the network whose features its codes are
    code_mean         of each code unit, a number or a tensor that fits code_shape
    code_deviation    likewise
    code_rectified    True where codes are never below zero

A VAE of the kind that diffusers has needs none of them: its `decode` gives an object with a
`sample` on -1..1, its `config` has the `scaling_factor` that brings latents to a deviation of 1,
and its latents' shape follows from `latent_channels`, `sample_size` and `block_out_channels`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import RenderError
from pipeline.networks.user_factory import find_factory
from pipeline.networks.weights import fit_state, read_weights
from viz.priors.code_range import CodeSpread

__all__ = ["build_generator", "code_shape_of", "declared_spread", "decode_codes", "try_decoding"]

HINT = "give package.module:factory, path/to/file.py:factory, or a .pt of `maxact prior train`"


def build_generator(name: str, weights: Path | None = None) -> nn.Module:
    """The module that a factory makes, frozen, with weights in it.

    Args:
        name: `module:factory`; called without arguments.
        weights: a state dict, see `pipeline.networks.weights.read_weights`.

    Raises:
        RenderError: when there is no such factory, or it gives no module.
        WeightsError: names what does not fit.
    """
    factory = find_factory(name, what="generator", error=RenderError, hint=HINT)
    try:
        module = factory()
    except Exception as error:
        # It is code that we do not know: whatever it raises is its own, and is named.
        raise RenderError(f"generator {name} raised {_named(error)}") from error
    if not isinstance(module, nn.Module):
        raise RenderError(
            f"generator {name} gave {type(module).__name__}, expected an nn.Module that turns "
            "codes into images"
        )
    if weights is not None:
        if not weights.is_file():
            raise RenderError(f"there is no file {weights} to take the generator's weights from")
        fit_state(module, read_weights(weights), str(weights))
    return module.eval().requires_grad_(False)


def code_shape_of(module: nn.Module) -> tuple[int, ...] | None:
    """The shape of one image's code, as the module says; None where it does not."""
    shape = getattr(module, "code_shape", None)
    if shape is not None:
        return tuple(int(side) for side in shape)
    config = getattr(module, "config", None)
    channels = getattr(config, "latent_channels", None)
    size = getattr(config, "sample_size", None)
    blocks = getattr(config, "block_out_channels", None)
    if not (channels and size and blocks):
        return None
    # A VAE of diffusers halves the side between its blocks.
    sides = (size, size) if isinstance(size, int) else tuple(size)
    return (int(channels), *(int(side) >> (len(blocks) - 1) for side in sides))


def declared_spread(module: nn.Module, code_shape: tuple[int, ...]) -> CodeSpread | None:
    """How codes are spread, as the module says; None where it does not.

    Raises:
        RenderError: when what it says does not fit its codes.
    """
    mean, deviation = (getattr(module, f"code_{word}", None) for word in ("mean", "deviation"))
    if deviation is None and _scaling(module)[0] is not None:
        # What the factor is for: scaled latents have a deviation of 1.
        mean, deviation = 0.0, 1.0
    if deviation is None:
        return None
    try:
        mean, deviation = (
            torch.as_tensor(each, dtype=torch.float32, device="cpu").expand(code_shape).clone()
            for each in (0.0 if mean is None else mean, deviation)
        )
    except RuntimeError as error:
        raise RenderError(
            f"the generator's code_mean and code_deviation do not fit codes of "
            f"{_times(code_shape)}: {_first_line(error)}"
        ) from error
    return CodeSpread(mean, deviation, bool(getattr(module, "code_rectified", False)))


def decode_codes(module: nn.Module, codes: Tensor) -> Tensor:
    """Codes (image, *code_shape) to pictures (image, channel, y, x) on 0..255.

    Raises:
        RenderError: when the module gives no tensor.
    """
    scaling, shift = _scaling(module)
    latents = codes if scaling is None else codes / scaling + shift
    made: Any = getattr(module, "decode", module)(latents)
    images = made if isinstance(made, Tensor) else getattr(made, "sample", None)
    if not isinstance(images, Tensor):
        raise RenderError(f"it gave {type(made).__name__}, expected images or an object with a sample")
    usual = (0.0, 1.0) if isinstance(made, Tensor) else (-1.0, 1.0)
    low, high = getattr(module, "sample_range", usual)
    return 255 * ((images.float() - low) / (high - low)).clamp(0, 1)


def try_decoding(module: nn.Module, code_shape: tuple[int, ...], name: str, channels: int) -> tuple[int, int]:
    """Decode one code, to see that pictures come out which can be climbed in.

    Args:
        module: a generator.
        code_shape: of its codes.
        name: of it, for the message.
        channels: that a picture must have.

    Returns:
        Rows and columns of its pictures.

    Raises:
        RenderError: when it cannot, or gives something else.
    """
    code = torch.zeros(1, *code_shape, requires_grad=True)
    try:
        with torch.enable_grad():
            pictures = decode_codes(module, code)
    except RenderError as error:
        raise RenderError(f"generator {name}: {error}") from error
    except Exception as error:
        raise RenderError(
            f"generator {name} cannot decode a code of {_times(code_shape)}: {_named(error)}; "
            "--generator-code gives another shape"
        ) from error
    shape = tuple(pictures.shape)
    if len(shape) != 4 or shape[:2] != (1, channels):
        raise RenderError(
            f"generator {name} made a picture of shape {shape} of one code of "
            f"{_times(code_shape)}, expected (1, {channels}, rows, columns)"
        )
    if not pictures.requires_grad:
        raise RenderError(
            f"generator {name} gives pictures without a gradient to their code; does its decode "
            "run under torch.no_grad?"
        )
    return shape[2], shape[3]


def _scaling(module: nn.Module) -> tuple[float | None, float]:
    """Factor and shift of a diffusers VAE: latents = codes / factor + shift."""
    config = getattr(module, "config", None)
    factor = getattr(config, "scaling_factor", None)
    return (None if factor is None else float(factor)), float(getattr(config, "shift_factor", None) or 0.0)


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {_first_line(error)}"
