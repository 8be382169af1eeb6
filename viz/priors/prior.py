"""Load priors: generators whose codes are optimised.

    prior = load_prior(Path("out/demo/prior/blocks.4.2.pt"))
    pictures = prior.decode(codes)

A prior of `viz.priors.training` decodes the features of a layer, averaged over a grid. Any other
generator is created by a factory `module:function`, see `viz.priors.user_module`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import LayerError, RenderError, RenderingFailed
from pipeline.file_names import file_name
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.progress import Reporter
from pipeline.query.index import Index
from pipeline.store.derived import FINGERPRINT_NOTE
from pipeline.working_copies import pull
from viz.priors.code_range import CodeRange, CodeStatistics, dataset_statistics
from viz.priors.decoder import Decoder
from viz.priors.user_module import (
    HINT,
    build_generator,
    check_decoding,
    code_shape_of,
    declared_statistics,
    decode_codes,
    describe_error,
)
from viz.tensor_files import load_tensors

__all__ = ["Prior", "code_range", "load_prior", "parse_code_shape", "prior_path", "priors_of"]


@dataclass(frozen=True)
class Prior:
    """A generator and the range of its codes.

    Args:
        module: maps codes to images, see `viz.priors.user_module.decode_codes`.
        code_shape: shape of one image's code.
        lower: (*code_shape,) minimum of each code unit.
        upper: (*code_shape,) maximum of each code unit.
        origin: description of where the bounds come from.
        digest: SHA-256 of the weights and of the bounds or their source.
    """

    module: nn.Module
    code_shape: tuple[int, ...]
    lower: Tensor
    upper: Tensor
    origin: str
    digest: str

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes (image, *code_shape) to pictures (image, channel, y, x) on 0..255."""
        return decode_codes(self.module, codes)

    def to(self, device: torch.device) -> Prior:
        """Return the prior on a device."""
        return replace(
            self,
            module=self.module.to(device),
            lower=self.lower.to(device),
            upper=self.upper.to(device),
        )


def prior_path(out: Path, layer: str) -> Path:
    """Return the path of the prior that was trained on a layer of the index in `out`."""
    return out / "prior" / f"{file_name(layer)}.pt"


def priors_of(index: Index) -> tuple[list[Path], list[Path]]:
    """The priors in OUT that were trained on an index, and the other files there.

    A prior of an older version, which does not say on which index, belongs if its network is the same.
    """
    own: list[Path] = []
    others: list[Path] = []
    pull(index.out, "prior/*")
    for path in sorted((index.out / "prior").glob("*.pt")):
        try:
            content = load_tensors(path, torch.device("cpu"))
        except (ValueError, OSError):
            own.append(path)  # `load_prior` says what is wrong with it
            continue
        made_from = content.get(FINGERPRINT_NOTE)
        same = made_from == index.run["fingerprint"]
        same |= made_from is None and content.get("network") == index.run["network"]["digest"]
        (own if same else others).append(path)
    return own, others


def parse_code_shape(text: str) -> tuple[int, ...]:
    """Parse the shape of a code: `4096`, `256x6x6`.

    Raises:
        RenderError: if the text is not one to three positive integers separated by `x`.
    """
    parts = text.lower().split("x")
    if len(parts) > 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise RenderError(f"invalid code shape {text!r}; expected one to three sizes such as 4096 or 256x6x6")
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
    """Load a prior from a checkpoint, or from a factory and a file of weights.

    Args:
        source: a `.pt` file of `maxact prior train`, or `module:factory`.
        weights: a state dict for the factory's module, in any format of `pipeline.networks.weights`.
        code_shape: shape of one image's code, if the module does not declare it.
        network: the network to be rendered; if None, pictures have three channels.
        index: index of that network. If the codes are features of one of its layers, their range
            is computed from the dataset.
        reporter: receives the progress of reading the dataset.

    Raises:
        RenderError: if the prior cannot be loaded or is not a generator.
        WeightsError: if the weights do not fit the module.
    """
    text = str(source)
    if text.endswith(".pt"):
        if weights is not None or code_shape is not None:
            raise RenderError(f"{text} is a complete generator; it takes no weights and no code shape")
        return _load_checkpoint(Path(text))
    if ":" not in text:
        raise RenderError(f"generator {text!r}: {HINT}")
    module = build_generator(text, weights)
    shape = code_shape or code_shape_of(module)
    if shape is None:
        raise RenderError(
            f"generator {text} does not declare the shape of its codes; add the attribute code_shape "
            "or pass it, for example --generator-code 256x6x6"
        )
    check_decoding(module, shape, text, 3 if network is None else network.input_shape[0])
    bounds = code_range(module, shape, network, index, reporter)
    return _build_prior(module, shape, bounds, text)


def _load_checkpoint(path: Path) -> Prior:
    if not path.is_file():
        raise RenderError(f"prior {path} does not exist; train one with `maxact prior train`")
    try:
        content = load_tensors(path, torch.device("cpu"))
        shape, rectified = content["shape"], content["least"] >= 0
        module = Decoder(**shape)
        module.load_state_dict(content["decoder"])
    except (ValueError, OSError, RuntimeError, LookupError, TypeError) as error:
        raise RenderingFailed(f"{path} is not a checkpoint of a prior: {describe_error(error)}") from error
    module.eval().requires_grad_(False)
    statistics = CodeStatistics(module.mean, module.deviation, rectified)
    bounds = statistics.range("of the dataset's features, as they were in training")
    return _build_prior(module, (shape["units"], shape["grid"], shape["grid"]), bounds, "")


def code_range(
    module: nn.Module,
    shape: tuple[int, ...],
    network: Network | None,
    index: Index | None,
    reporter: Reporter | None = None,
) -> CodeRange:
    """Determine the range of a generator's codes.

    If the codes are features of a layer of the network (`code_layer` of the module), the range is
    computed from the dataset. Otherwise the statistics that the module declares are used; without
    them there are no bounds.

    Args:
        module: a generator.
        shape: shape of one image's code.
        network: the network to be rendered.
        index: index of that network.
        reporter: receives the progress of reading the dataset.
    """
    name = getattr(module, "code_layer", None)
    reason = "the generator says nothing of their spread"
    if name is not None and network is not None and index is not None:
        layer = _find_layer(network, index, str(name))
        if layer is not None and layer.units == shape[0] and len(shape) in (1, 3):
            statistics = dataset_statistics(index, network, layer, shape, reporter)
            description = f"of the features of {name} over the dataset"
            return statistics.range(description, str(index.run["fingerprint"]))
        found = "no such layer" if layer is None else f"{layer.units:,} units there"
        reason = f"{network.name} has {found} for {name}, and {reason}"
    declared = declared_statistics(module, shape)
    if declared is None:
        return CodeRange.unbounded(shape, reason)
    return declared.range("as the generator declares them")


def _find_layer(network: Network, index: Index, name: str) -> Layer | None:
    """Return the layer of this name, indexed or not; None if the network has no such layer."""
    for layer in index.layers:
        if layer.name == name:
            return layer
    try:
        return choose_layers(network, [name])[0]
    except LayerError:
        return None


def _build_prior(module: nn.Module, shape: tuple[int, ...], bounds: CodeRange, name: str) -> Prior:
    """Create a prior; its digest covers name, shape, weights, and the bounds or their source."""
    digest = hashlib.sha256(f"{name} {shape} {bounds.origin} {bounds.source}".encode())
    parts: dict[str, Any] = dict(module.state_dict())
    if not bounds.source:
        parts |= {" lower": bounds.lower, " upper": bounds.upper}
    for key, tensor in sorted(parts.items()):
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return Prior(module, shape, bounds.lower, bounds.upper, bounds.origin, digest.hexdigest())
