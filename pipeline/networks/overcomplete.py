"""State dicts of the package Overcomplete (overcomplete/sae/*.py, version 0.3) as tensors of a dictionary.

    encoder.final_block.0.weight, .bias     its linear encoder, and the one before a batch normalisation
    encoder.weight, encoder.bias            the encoder of `untied`; that of `tied` has no weight
    dictionary._weights, .multiplier        the decoder, whose rows are multiplied by exp(multiplier)
    thresholds                              of JumpSAE, logarithms

It keeps a code from its threshold on, SAELens above it: thresholds are the next lower float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import WeightsError

__all__ = ["JUMP", "is_overcomplete", "lower_threshold", "overcomplete_tensors"]

JUMP = "thresholds"
"""The tensor that only JumpSAE has."""

_DECODER, _CANDIDATES = "dictionary._weights", "dictionary.C"
_LINEAR, _UNTIED, _NORM = "encoder.final_block.0", "encoder", "encoder.final_block.1"
_EPSILON = 1e-5
"""Of batch normalisation, which Overcomplete leaves at torch's default."""


def is_overcomplete(names: Mapping[str, object]) -> bool:
    """Whether names of tensors are those of a sparse autoencoder of Overcomplete."""
    return _DECODER in names or _CANDIDATES in names


def overcomplete_tensors(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors `W_enc`, `b_enc`, `W_dec` and `threshold` of a state dict.

    Args:
        path: named in errors.
        state: of Overcomplete.

    Raises:
        WeightsError: for an encoder that is not linear, or quantised codes.
    """
    blocks = sorted({name.split(".")[1] for name in state if name.startswith("encoder.")})
    known = {"final_block", "weight", "bias", "tied_to"}
    if not known.issuperset(blocks) or "Q" in state:
        what = ", ".join(name for name in blocks if name not in known) or "quantised codes"
        raise WeightsError(
            f"{path} has {what}: of Overcomplete's encoders only linear ones are read, with a batch "
            "normalisation or without"
        )
    decoder = _decoder(state)
    weight, bias = _encoder(path, state, decoder)
    found = {"W_enc": weight.T.contiguous(), "b_enc": weight.new_zeros(len(weight)) if bias is None else bias}
    if decoder is not None:
        found["W_dec"] = decoder
    if JUMP in state:
        found["threshold"] = lower_threshold(state[JUMP].float().exp())
    return found


def lower_threshold(threshold: Tensor) -> Tensor:
    """The thresholds above which exactly those float32 are that are not below the given ones."""
    return torch.nextafter(threshold.float(), torch.tensor(-torch.inf))


def _decoder(state: Mapping[str, Tensor]) -> Tensor | None:
    scale = state.get("dictionary.multiplier", torch.tensor(0.0)).float().exp()
    if _DECODER in state:
        return state[_DECODER].float() * scale
    if "dictionary.W" in state and "dictionary.Relax" in state:  # archetypal, rasae.py
        mixed = state["dictionary.W"].float() @ state[_CANDIDATES].float()
        return (mixed + state["dictionary.Relax"].float()) * scale
    return None


def _encoder(path: Path, state: Mapping[str, Tensor], decoder: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Weight (feature, channel) and bias (feature,)."""
    if f"{_UNTIED}.weight" in state or f"{_LINEAR}.weight" not in state:
        weight = state.get(f"{_UNTIED}.weight", decoder)
        if weight is None:
            raise WeightsError(f"{path} has neither an encoder nor a decoder that it is tied to")
        return weight.float(), state.get(f"{_UNTIED}.bias")
    weight, bias = state[f"{_LINEAR}.weight"].float(), state.get(f"{_LINEAR}.bias")
    if f"{_NORM}.running_mean" not in state:
        if f"{_NORM}.weight" in state:
            raise WeightsError(
                f"{path} normalises codes over features (LayerNorm), which is not read; use Overcomplete's "
                "encoder `linear` or one with a batch normalisation"
            )
        return weight, bias
    gain = state[f"{_NORM}.weight"].float() / (state[f"{_NORM}.running_var"].float() + _EPSILON).sqrt()
    shift = (0 if bias is None else bias.float()) - state[f"{_NORM}.running_mean"].float()
    return weight * gain[:, None], shift * gain + state[f"{_NORM}.bias"].float()
