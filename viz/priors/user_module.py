"""User-defined generators: `module:factory`, with an optional file of weights.

    def create():                     # my_generator.py
        return Generator()            # an nn.Module, with or without trained weights

    maxact render OUT --recipe prior --generator my_generator:create --generator-weights g.safetensors

The module, or its method `decode` if it has one, maps codes (image, *code_shape) to images
(image, channel, y, x). Optional attributes of the module:

    code_shape        shape of one image's code, such as (4096,) or (256, 6, 6)
    sample_range      minimum and maximum of the images; (0, 1) by default
    code_layer        name of the layer of the network whose features are the codes
    code_mean         mean of each code unit: a number or a tensor that broadcasts to code_shape
    code_deviation    standard deviation of each code unit, likewise
    code_rectified    True if codes are never negative

A VAE of diffusers needs none of them: its `decode` returns an object with a `sample` on -1..1, the
`scaling_factor` of its `config` scales latents to a standard deviation of 1, and the shape of the
latents follows from `latent_channels`, `sample_size` and `block_out_channels`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import RenderError, RenderingFailed
from pipeline.networks.user_factory import call_factory, find_factory
from pipeline.networks.weights import fit_state, read_weights
from viz.priors.code_range import CodeStatistics

__all__ = [
    "HINT",
    "build_generator",
    "check_decoding",
    "code_shape_of",
    "declared_statistics",
    "decode_codes",
    "describe_error",
]

HINT = "expected package.module:factory, path/to/file.py:factory, or a .pt file of `maxact prior train`"
"""Accepted forms of a generator, for messages."""


def build_generator(name: str, weights: Path | None = None) -> nn.Module:
    """Call a factory, load weights into its module, and freeze it.

    Args:
        name: `module:factory`; the factory is called without arguments.
        weights: file of a state dict, see `pipeline.networks.weights.read_weights`.

    Raises:
        RenderError: if the factory does not exist, fails, or does not return a module.
        WeightsError: if the weights do not fit the module.
    """
    factory = find_factory(name, what="generator", missing=RenderError, failed=RenderingFailed, hint=HINT)
    module = call_factory(factory, name, what="generator", failed=RenderingFailed)
    if not isinstance(module, nn.Module):
        raise RenderingFailed(
            f"generator {name} returned {type(module).__name__}, expected an nn.Module that maps "
            "codes to images"
        )
    if weights is not None:
        if not weights.is_file():
            raise RenderError(f"weights file of the generator does not exist: {weights}")
        fit_state(module, read_weights(weights), str(weights))
    return module.eval().requires_grad_(False)


def code_shape_of(module: nn.Module) -> tuple[int, ...] | None:
    """Return the shape of one image's code as declared by the module, or None."""
    shape = getattr(module, "code_shape", None)
    if shape is not None:
        return tuple(int(side) for side in shape)
    config = getattr(module, "config", None)
    channels = getattr(config, "latent_channels", None)
    size = getattr(config, "sample_size", None)
    blocks = getattr(config, "block_out_channels", None)
    if not (channels and size and blocks):
        return None
    # A diffusers VAE halves the side between its blocks.
    sides = (size, size) if isinstance(size, int) else tuple(size)
    return (int(channels), *(int(side) >> (len(blocks) - 1) for side in sides))


def declared_statistics(module: nn.Module, code_shape: tuple[int, ...]) -> CodeStatistics | None:
    """Return the statistics of codes as declared by the module, or None.

    Args:
        module: a generator.
        code_shape: of one image's code.

    Raises:
        RenderError: if the declared values do not broadcast to `code_shape`.
    """
    mean, deviation = (getattr(module, f"code_{word}", None) for word in ("mean", "deviation"))
    if deviation is None and _scaling(module)[0] is not None:
        # The factor scales latents to a standard deviation of 1.
        mean, deviation = 0.0, 1.0
    if deviation is None:
        return None
    try:
        mean, deviation = (
            torch.as_tensor(each, dtype=torch.float32, device="cpu").expand(code_shape).clone()
            for each in (0.0 if mean is None else mean, deviation)
        )
    except RuntimeError as error:
        raise RenderingFailed(
            "the generator's code_mean and code_deviation do not fit codes of shape "
            f"{_format_shape(code_shape)}: {_first_line(error)}"
        ) from error
    return CodeStatistics(mean, deviation, bool(getattr(module, "code_rectified", False)))


def decode_codes(module: nn.Module, codes: Tensor) -> Tensor:
    """Decode codes (image, *code_shape) to pictures (image, channel, y, x) on 0..255.

    Args:
        module: a generator.
        codes: on the device of the module.

    Raises:
        RenderError: if the module does not return a tensor.
    """
    scaling, shift = _scaling(module)
    latents = codes if scaling is None else codes / scaling + shift
    output: Any = getattr(module, "decode", module)(latents)
    images = output if isinstance(output, Tensor) else getattr(output, "sample", None)
    if not isinstance(images, Tensor):
        raise RenderingFailed(
            f"it returned {type(output).__name__}, expected images or an object with a sample"
        )
    default = (0.0, 1.0) if isinstance(output, Tensor) else (-1.0, 1.0)
    low, high = getattr(module, "sample_range", default)
    return 255 * ((images.float() - low) / (high - low)).clamp(0, 1)


def check_decoding(module: nn.Module, code_shape: tuple[int, ...], name: str, channels: int) -> None:
    """Check that a generator decodes a code to a picture with a gradient.

    Args:
        module: a generator.
        code_shape: of one image's code.
        name: of the generator, for messages.
        channels: expected channels of the picture.

    Raises:
        RenderError: if decoding fails, the picture has another shape, or there is no gradient.
    """
    code = torch.zeros(1, *code_shape, requires_grad=True)
    try:
        with torch.enable_grad():
            pictures = decode_codes(module, code)
    except RenderError as error:
        raise RenderingFailed(f"generator {name}: {error}") from error
    except Exception as error:
        raise RenderError(
            f"generator {name} cannot decode a code of shape {_format_shape(code_shape)}: "
            f"{describe_error(error)}; pass the correct shape with --generator-code"
        ) from error
    shape = tuple(pictures.shape)
    if len(shape) != 4 or shape[:2] != (1, channels):
        raise RenderingFailed(
            f"generator {name} decoded one code of shape {_format_shape(code_shape)} to a picture of "
            f"shape {shape}, expected (1, {channels}, rows, columns)"
        )
    if not pictures.requires_grad:
        raise RenderingFailed(
            f"generator {name} returns pictures without a gradient with respect to the code; "
            "remove torch.no_grad or detach from its decode"
        )


def _scaling(module: nn.Module) -> tuple[float | None, float]:
    """Return factor and shift of a diffusers VAE, where latents = codes / factor + shift."""
    config = getattr(module, "config", None)
    factor = getattr(config, "scaling_factor", None)
    return (None if factor is None else float(factor)), float(getattr(config, "shift_factor", None) or 0.0)


def _format_shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def describe_error(error: Exception) -> str:
    """Return the type of an error and the first line of its message."""
    return f"{type(error).__name__}: {_first_line(error)}"
