"""Files of dictionaries: encoders of sparse autoencoders and transcoders.

    FOLDER             cfg.json and sae_weights.safetensors, as SAELens 6 writes (sae_lens/saes/*.py)
    FILE.safetensors   the same tensors; settings as JSON text in its metadata, keys as in `Settings`
    FILE.pt            a line of JSON and a state dict, as saev writes (saev/nn.py), or a state dict of W_enc,
                       b_enc, b_dec, as ViT-Prisma's
    either             a state dict of Overcomplete, see `pipeline.networks.overcomplete`

The formulas are in `pipeline.networks.dictionaries`. BatchTopK (Bussmann et al. 2024, arXiv:2412.06410) has
one fixed threshold after training: its features are those of jumprelu with that threshold.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from pipeline.errors import MissingWeights, WeightsError
from pipeline.networks.dictionaries import ENCODER, VECTORS, Activation, Dictionary, Normalise, Settings
from pipeline.networks.overcomplete import JUMP, is_overcomplete, lower_threshold, overcomplete_tensors
from pipeline.networks.weights import read_weights

__all__ = ["is_dictionary", "read_dictionary"]

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
"""Files of a folder of SAELens."""

_ARCHITECTURES: Mapping[str, Activation] = {
    "standard": "relu",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "batchtopk": "jumprelu",
    "matryoshka_batchtopk": "jumprelu",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
"""SAELens' architectures that are encoders of one layer."""

_SHARED_THRESHOLD = "topk_threshold"
"""The one threshold of all features in checkpoints of SAELens' batchtopk."""

_BATCHTOPK = "batchtopk"
"""An activation in metadata: jumprelu with one `threshold`, which is in the metadata too."""

_NEEDED: Mapping[Activation, tuple[str, ...]] = {
    "relu": ("b_enc",),
    "topk": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "gated": ("b_gate", "r_mag", "b_mag"),
    "none": (),
}


def is_dictionary(path: Path) -> bool:
    """Whether a file or folder has an encoder, rather than directions."""
    if path.is_dir():
        return True
    if path.suffix.lower() == ".safetensors" and path.is_file():
        return _has_encoder(_safetensors_header(path))
    if path.suffix.lower() not in (".pt", ".pth") or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(1) == b"{" or _has_encoder(read_weights(path))


def _has_encoder(names: Mapping[str, Any]) -> bool:
    return ENCODER in names or is_overcomplete(names)


def read_dictionary(path: Path) -> Dictionary:
    """Read an encoder.

    Args:
        path: a folder or file, see the module's docstring.

    Raises:
        MissingWeights: when there is none.
        WeightsError: when its tensors do not fit each other, or its kind is not known.
    """
    if path.is_dir():
        tensors, settings = _read_folder(path)
    elif path.suffix.lower() == ".safetensors":
        tensors, settings = _read_safetensors(path)
    else:
        tensors, settings = _read_torch(path)
    return Dictionary(_checked(path, tensors, settings), settings)


def _read_folder(path: Path) -> tuple[dict[str, Tensor], Settings]:
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise MissingWeights(
                f"{path} is no dictionary: it has no {name} (SAELens' {CONFIG} and {WEIGHTS})"
            )
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        architecture = str(config.get("architecture", "standard"))
    except (ValueError, OSError, AttributeError) as error:
        raise WeightsError(f"{path / CONFIG} is no configuration of SAELens: {error}") from error
    activation = _ARCHITECTURES.get(architecture)
    if activation is None:
        known = ", ".join(_ARCHITECTURES)
        raise WeightsError(f"{path / CONFIG}: the architecture {architecture!r} is not known; known: {known}")
    if architecture == "standard" and config.get("activation_fn", "relu") not in ("relu", "identity"):
        raise WeightsError(f"{path / CONFIG}: the activation {config['activation_fn']!r} is not known")
    if config.get("reshape_activations", "none") not in ("none", "hook_z"):
        raise WeightsError(f"{path / CONFIG}: reshape_activations is not none or hook_z")
    settings = _settings(
        path / CONFIG,
        activation="none" if config.get("activation_fn") == "identity" else activation,
        k=config.get("k", 0),
        apply_b_dec_to_input=config.get("apply_b_dec_to_input", True),
        normalise=config.get("normalize_activations", "none"),
        rescale_acts_by_decoder_norm=config.get("rescale_acts_by_decoder_norm", False),
    )
    tensors = read_weights(path / WEIGHTS)
    if _SHARED_THRESHOLD in tensors and ENCODER in tensors:
        shared = tensors[_SHARED_THRESHOLD].float()
        tensors.setdefault("threshold", shared.expand(tensors[ENCODER].shape[-1]).contiguous())
    return tensors, settings


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Settings]:
    """Tensors, and settings in the metadata of the file; each is JSON text or a plain word."""
    metadata = _safetensors_header(path).get("__metadata__") or {}
    known = {field.name for field in fields(Settings)}
    given = {name: _value(text) for name, text in metadata.items() if name in known}
    tensors = read_weights(path)
    overcomplete = is_overcomplete(tensors)
    if overcomplete:
        if "activation" not in given and JUMP not in tensors:
            raise _unknown_activation(path)
        tensors = overcomplete_tensors(path, tensors)
        given["apply_b_dec_to_input"] = False
    if given.get("activation") == _BATCHTOPK:
        given["activation"] = "jumprelu"
        tensors["threshold"] = _shared_threshold(path, metadata, tensors, keeps_equal=overcomplete)
    if "activation" not in given:
        kinds = {"threshold": "jumprelu", "b_gate": "gated"}
        given["activation"] = next((kind for name, kind in kinds.items() if name in tensors), "relu")
    return tensors, _settings(path, **given)


def _shared_threshold(
    path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor], *, keeps_equal: bool
) -> Tensor:
    """The threshold in the metadata for every feature; Overcomplete also keeps what is equal to it."""
    value = _value(metadata.get("threshold", ""))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise WeightsError(f"{path}: batchtopk needs `threshold` in the metadata, a number; got {value!r}")
    threshold = torch.tensor(float(value))
    shape = tensors[ENCODER].shape if ENCODER in tensors else (0,)
    return (lower_threshold(threshold) if keeps_equal else threshold).expand(shape[-1]).contiguous()


def _unknown_activation(path: Path) -> WeightsError:
    return WeightsError(
        f"{path} is of Overcomplete, whose files do not say how codes are selected; save the state dict as "
        "safetensors with metadata: activation relu, topk with k, or batchtopk with threshold"
    )


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _settings(path: Path, **given: Any) -> Settings:
    """Settings whose values are of the right kind."""
    normalise = given.get("normalise", "none")
    if normalise in (None, False):
        given["normalise"] = normalise = "none"
    if normalise not in get_args(Normalise):
        raise WeightsError(
            f"{path}: inputs normalised by {normalise!r} are not known; fold the normalisation into the "
            f"weights before saving, or use {', '.join(get_args(Normalise))}"
        )
    if given.get("activation", "relu") not in get_args(Activation):
        known = ", ".join(get_args(Activation))
        raise WeightsError(f"{path}: the activation {given['activation']!r} is not known; known: {known}")
    k = given.get("k", 0)
    whole = isinstance(k, int | float) and not isinstance(k, bool) and k == int(k) and k >= 0
    if not whole or (given.get("activation") == "topk" and not k):
        raise WeightsError(f"{path}: topk needs k, the number of features kept, as a whole number; got {k!r}")
    given["k"] = int(k)
    for name in ("apply_b_dec_to_input", "rescale_acts_by_decoder_norm"):
        if not isinstance(given.get(name, True), bool):
            raise WeightsError(f"{path}: {name} must be true or false, got {given[name]!r}")
    return Settings(**given)


def _safetensors_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file; empty for any other file."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if 2 <= size <= 1 << 27 else {}
    except (OSError, ValueError):
        return {}
    return header if isinstance(header, dict) else {}


def _read_torch(path: Path) -> tuple[dict[str, Tensor], Settings]:
    """A state dict, after a line of JSON in files of saev."""
    with path.open("rb") as file:
        start = file.read(1)
        if start != b"{":
            return _read_state(path)
        _refuse_other_activation(path, start + file.readline())
        content = io.BytesIO(file.read())
    try:
        loaded = torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises almost anything on damaged data
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: no state dict after its line of JSON: {reason}") from error
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path} contains a {type(loaded).__name__}, expected a dictionary of tensors")
    return {str(k): v for k, v in loaded.items() if isinstance(v, Tensor)}, Settings()


def _read_state(path: Path) -> tuple[dict[str, Tensor], Settings]:
    tensors = read_weights(path)
    if not is_overcomplete(tensors):
        return tensors, Settings()
    if JUMP not in tensors:
        raise _unknown_activation(path)
    return overcomplete_tensors(path, tensors), Settings("jumprelu", apply_b_dec_to_input=False)


def _refuse_other_activation(path: Path, line: bytes) -> None:
    """Refuse a file whose line of JSON names another activation than relu, wherever it does."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: its first line is no JSON: {error}") from error
    waiting: list[Any] = [content]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            waiting += item.values()
            named = json.dumps(item.get("activation", "relu")).lower()
            if "relu" not in named or "jump" in named:
                raise WeightsError(
                    f"{path} was trained with the activation {named[:60]}, and only relu is read from such a "
                    "file; save its tensors as safetensors with `activation` in the metadata"
                )


def _checked(path: Path, tensors: Mapping[str, Tensor], settings: Settings) -> dict[str, Tensor]:
    """Tensors in float32 that fit each other.

    W_enc (channel, feature); b_dec (channel,); b_enc, threshold, b_gate, r_mag, b_mag (feature,); W_dec
    (feature, channel).
    """
    encoder = tensors.get(ENCODER)
    if encoder is None or encoder.dim() != 2 or not encoder.is_floating_point():
        found = ", ".join(sorted(tensors)[:8]) or "nothing"
        raise WeightsError(f"{path} has no matrix {ENCODER} (channel, feature); it has {found}")
    channels, features = encoder.shape
    shapes = dict.fromkeys(VECTORS, (features,)) | {"b_dec": (channels,), "W_dec": (features, channels)}
    needed = [*_NEEDED[settings.activation], *(["W_dec"] if settings.rescale_acts_by_decoder_norm else [])]
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise WeightsError(f"{path} has no {' and no '.join(missing)}, which {settings.activation} needs")
    for name, shape in shapes.items():
        if name in tensors and tuple(tensors[name].shape) != shape:
            raise WeightsError(
                f"{path}: {name} is {tuple(tensors[name].shape)}, expected {shape} for {ENCODER} "
                f"{tuple(encoder.shape)} (channel, feature)"
            )
    if settings.activation == "topk" and settings.k > features:
        raise WeightsError(f"{path}: k is {settings.k}, more than its {features} features")
    used = {ENCODER, *shapes}
    return {name: tensor.to(torch.float32) for name, tensor in tensors.items() if name in used}
