"""Generators whose code a rendering may climb in: trained here, or brought by the user.

    prior = load_prior(Path("out/demo/prior/blocks.4.2.pt"))
    pictures = prior.decode(codes)

A prior trained here (`viz.priors.training`) decodes a layer's features, averaged to a few positions.
A factory `module:function` gives any other; see `viz.priors.user_module`.
"""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import LayerError, RenderError
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.progress import Reporter
from pipeline.query.index import Index
from viz.priors.code_range import CodeRange, CodeSpread, dataset_spread
from viz.priors.decoder import Decoder
from viz.priors.user_module import (
    HINT,
    build_generator,
    code_shape_of,
    declared_spread,
    decode_codes,
    try_decoding,
)

__all__ = ["Prior", "code_range", "load_prior", "parse_code_shape", "prior_path"]


@dataclass(frozen=True)
class Prior:
    """A generator, ready to be climbed in.

    Args:
        module: codes to images, as `viz.priors.user_module.decode_codes` takes it.
        code_shape: of one image's code.
        lower: (*code_shape,) least value of each code unit.
        upper: likewise the largest.
        origin: where these bounds come from, in words.
        digest: SHA-256 of its weights and of what decides its bounds.
    """

    module: nn.Module
    code_shape: tuple[int, ...]
    lower: Tensor
    upper: Tensor
    origin: str
    digest: str

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (image, *code_shape) to pictures (image, channel, y, x) on 0..255."""
        return decode_codes(self.module, codes)

    def to(self, device: torch.device) -> Prior:
        """The prior on a device."""
        return replace(
            self,
            module=self.module.to(device),
            lower=self.lower.to(device),
            upper=self.upper.to(device),
        )


def prior_path(out: Path, layer: str) -> Path:
    """Where the prior trained on a layer lies in OUT."""
    return out / "prior" / f"{layer.replace('/', '_')}.pt"


def parse_code_shape(text: str) -> tuple[int, ...]:
    """A code's shape as the command line writes it: `4096`, `256x6x6`.

    Raises:
        RenderError: when it is not one to three numbers.
    """
    parts = text.lower().split("x")
    if len(parts) > 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise RenderError(f"a code's shape is written like 4096 or 256x6x6, got {text!r}")
    return tuple(int(part) for part in parts)


def load_prior(
    source: str | Path,
    weights: Path | None = None,
    *,
    code_shape: tuple[int, ...] | None = None,
    network: Network | None = None,
    index: Index | None = None,
    reporter: Reporter | None = None,
) -> Prior:
    """A prior from a checkpoint, or from a factory and a file of weights.

    Args:
        source: a `.pt` that `maxact prior train` wrote, or `module:factory`.
        weights: a state dict for the factory's module, in any format of `pipeline.networks.weights`.
        code_shape: of one image's code, where the factory's module does not say.
        network: that the pictures are for; by default one of three channels.
        index: made by that network; where the codes are features of one of its layers, the
            dataset says how far they go.
        reporter: shown progress where the dataset is read.

    Raises:
        RenderError: when it cannot be loaded or is not a generator.
        WeightsError: when weights do not fit the module.
    """
    text = str(source)
    if text.endswith(".pt"):
        if weights is not None or code_shape is not None:
            raise RenderError(f"{text} is a whole generator; it takes no weights and no code shape")
        return _from_checkpoint(Path(text))
    if ":" not in text:
        raise RenderError(f"generator {text!r}: {HINT}")
    module = build_generator(text, weights)
    shape = code_shape or code_shape_of(module)
    if shape is None:
        raise RenderError(
            f"generator {text} does not say the shape of its codes; give it a code_shape, or "
            "write --generator-code 256x6x6"
        )
    try_decoding(module, shape, text, 3 if network is None else network.input_shape[0])
    bounds = code_range(module, shape, network, index, reporter)
    return _ready(module, shape, bounds, text)


def _from_checkpoint(path: Path) -> Prior:
    if not path.is_file():
        raise RenderError(f"there is no prior {path}; train one with `maxact prior train`")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        shape, rectified = content["shape"], content["least"] >= 0
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
    spread = CodeSpread(module.mean, module.deviation, rectified)
    bounds = spread.range("of the dataset's features, as they were in training")
    return _ready(module, (shape["units"], shape["grid"], shape["grid"]), bounds, "")


def code_range(
    module: nn.Module,
    shape: tuple[int, ...],
    network: Network | None,
    index: Index | None,
    reporter: Reporter | None = None,
) -> CodeRange:
    """How far a generator's codes may go.

    The dataset says it where the module names the layer whose features its codes are, as
    `code_layer`, and the network has it; else the module does; else there are no bounds.

    Args:
        module: a generator.
        shape: of its codes.
        network: that is rendered.
        index: made by that network.
        reporter: shown progress where the dataset is read.
    """
    name, unsaid = getattr(module, "code_layer", None), "the generator says nothing of their spread"
    if name is not None and network is not None and index is not None:
        layer = _layer(network, index, str(name))
        if layer is not None and layer.units == shape[0] and len(shape) in (1, 3):
            spread = dataset_spread(index, network, layer, shape, reporter)
            return spread.range(f"of the features of {name} over the dataset", str(index.run["fingerprint"]))
        held = "no such layer" if layer is None else f"{layer.units:,} units there"
        unsaid = f"{network.name} has {held} for {name}, and {unsaid}"
    declared = declared_spread(module, shape)
    if declared is None:
        return CodeRange.everywhere(shape, unsaid)
    return declared.range("as the generator declares them")


def _layer(network: Network, index: Index, name: str) -> Layer | None:
    """A network's layer, indexed or not; None where it has none of that name."""
    for layer in index.layers:
        if layer.name == name:
            return layer
    try:
        return choose_layers(network, [name])[0]
    except LayerError:
        return None


def _ready(module: nn.Module, shape: tuple[int, ...], bounds: CodeRange, name: str) -> Prior:
    digest = hashlib.sha256(f"{name} {shape} {bounds.origin} {bounds.source}".encode())
    parts: dict[str, Any] = dict(module.state_dict())
    if not bounds.source:
        parts |= {" lower": bounds.lower, " upper": bounds.upper}
    for key, tensor in sorted(parts.items()):
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return Prior(module, shape, bounds.lower, bounds.upper, bounds.origin, digest.hexdigest())
