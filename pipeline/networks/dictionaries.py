"""Encoders of sparse autoencoders and transcoders, whose features become units of a layer.

A feature is an activation function of a linear projection of the layer's channels:

    x' = normalise(x) - b_dec
    f = g(x' @ W_enc + b_enc)                                   g: relu, topk, jumprelu, none
    f = [x' @ W_enc + b_gate > 0] * relu(x' @ (W_enc * exp(r_mag)) + b_mag)               gated

Features are computed in spans of `SPAN`, so that those of all features need not be in memory together.
Files: `pipeline.networks.dictionary_files`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import LayerError

__all__ = ["ENCODER", "SPAN", "VECTORS", "Activation", "Decoder", "Dictionary", "Normalise", "Settings"]

Activation = Literal["relu", "topk", "jumprelu", "gated", "none"]
Normalise = Literal["none", "layer_norm", "constant_norm_rescale"]

SPAN = 2048
"""Features that are computed at once: those of 32 images of 196 tokens take 51 MB."""

ENCODER = "W_enc"
"""(channel, feature), the tensor that every dictionary has."""

VECTORS = ("b_enc", "threshold", "b_gate", "r_mag", "b_mag")
"""Tensors with one value a feature."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an encoder does beside its tensors.

    Args:
        activation: of the features.
        k: features kept at each position, for topk.
        apply_b_dec_to_input: subtract `b_dec` from the input.
        normalise: the input, before that: `layer_norm`, or `constant_norm_rescale`, to a length of the square
            root of the number of channels.
        rescale_acts_by_decoder_norm: multiply projections by the lengths of the rows of `W_dec`, for topk.
    """

    activation: Activation = "relu"
    k: int = 0
    apply_b_dec_to_input: bool = True
    normalise: Normalise = "none"
    rescale_acts_by_decoder_norm: bool = False


class Decoder:
    """The directions of the features, shared by copies of a network: they are as large as the encoder.

    Args:
        rows: (feature, channel).
    """

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __deepcopy__(self, _: object) -> Decoder:
        return self


class Dictionary(nn.Module):
    """Outputs the features of its parent module's output.

    Args:
        tensors: in float32: W_enc (channel, feature); and where the settings need them b_dec (channel,);
            b_enc, threshold, b_gate, r_mag, b_mag (feature,); W_dec (feature, channel).
        settings: of the encoder.
    """

    W_enc: Tensor
    offset: Tensor

    def __init__(self, tensors: Mapping[str, Tensor], settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        decoder = tensors.get("W_dec")
        self.decoder = None if decoder is None else Decoder(decoder)
        self.deferred = False  # whether it outputs its input, of which the probes compute the features
        channels = tensors[ENCODER].shape[0]
        centre = tensors.get("b_dec") if settings.apply_b_dec_to_input else None
        weight = tensors[ENCODER]
        scale = tensors["W_dec"].norm(dim=-1) if settings.rescale_acts_by_decoder_norm else None
        self.register_buffer(ENCODER, weight.T.contiguous())
        self.register_buffer("offset", torch.zeros(channels) if centre is None else centre)
        for name in VECTORS:
            self.register_buffer(name, tensors.get(name))
        self.register_buffer("decoder_norm", scale)
        # Part of the state, so that the digest of the network tells settings apart.
        text = json.dumps(asdict(settings), sort_keys=True).encode()
        self.register_buffer("settings_text", torch.tensor(list(text), dtype=torch.uint8))

    def forward(self, output: Tensor) -> Tensor:
        """Replace the channels, on axis 1 of a map or on the last axis, by the features."""
        if self.deferred:
            return output
        spans = [features for _, features in self.spans(output)]
        return spans[0] if len(spans) == 1 else torch.cat(spans, 1 if self._on_axis_1(output) else -1)

    def spans(self, output: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The features, at most `SPAN` at a time.

        Args:
            output: of the parent module.

        Yields:
            The first feature of the span, and `output` with its channels replaced by the span's features:
            the same values as `forward` gives.

        Raises:
            LayerError: if the output has no axis of the dictionary's channels.
        """
        channels = self.W_enc.shape[1]
        on_axis_1 = self._on_axis_1(output)
        inputs = output.movedim(1, -1) if on_axis_1 else output
        if inputs.shape[-1] != channels:
            raise LayerError(
                f"the dictionary encodes {channels} channels, the layer's output {tuple(output.shape)} has "
                "no axis of that length for its channels; give the layer that it was trained on (--at)"
            )
        inputs = self._normalised(inputs) - self.offset.to(inputs.dtype)
        encode = self._topk_spans if self.settings.activation == "topk" else self._own_spans
        for first, features in encode(inputs):
            yield first, features.movedim(-1, 1) if on_axis_1 else features

    def _on_axis_1(self, output: Tensor) -> bool:
        return output.dim() == 4 and output.shape[1] == self.W_enc.shape[1]

    def _normalised(self, inputs: Tensor) -> Tensor:
        if self.settings.normalise == "layer_norm":
            centred = inputs - inputs.mean(-1, keepdim=True)
            return centred / (centred.std(-1, keepdim=True) + 1e-5)
        if self.settings.normalise == "constant_norm_rescale":
            scale: Tensor = inputs.shape[-1] ** 0.5 / torch.linalg.vector_norm(inputs, dim=-1, keepdim=True)
            return inputs * scale
        return inputs

    def _slices(self) -> Iterator[slice]:
        features = len(self.W_enc)
        for first in range(0, features, SPAN):
            yield slice(first, min(first + SPAN, features))

    def _own_spans(self, inputs: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Features that do not depend on each other."""
        for span in self._slices():
            yield span.start, self._activated(inputs, span)

    def _activated(self, inputs: Tensor, span: slice) -> Tensor:
        activation = self.settings.activation
        if activation == "gated":
            projected = functional.linear(inputs, self._part(ENCODER, inputs, span))
            open_gate = projected + self._part("b_gate", inputs, span) > 0
            size = projected * self._part("r_mag", inputs, span).exp() + self._part("b_mag", inputs, span)
            return size.relu() * open_gate
        hidden = self._hidden(inputs, span)
        if activation == "jumprelu":
            return hidden.relu() * (hidden > self._part("threshold", inputs, span))
        return hidden.relu() if activation == "relu" else hidden

    def _topk_spans(self, inputs: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The k largest projections of each position, whichever span they are in.

        Two passes: the first keeps the k largest of the spans so far, the second puts them in their places,
        so that nothing is projected twice.
        """
        k = self.settings.k
        values, features = inputs.new_empty((*inputs.shape[:-1], 0)), torch.empty(0)
        for span in self._slices():
            hidden = self._hidden(inputs, span)
            best = hidden.topk(min(k, hidden.shape[-1]), dim=-1)
            if span.start == 0:
                values, features = best.values, best.indices
                continue
            values = torch.cat([values, best.values], -1)
            features = torch.cat([features, best.indices + span.start], -1)
            kept = values.topk(min(k, values.shape[-1]), dim=-1)
            values, features = kept.values, features.gather(-1, kept.indices)
        values = values.relu()
        for span in self._slices():
            width = span.stop - span.start
            inside = (features >= span.start) & (features < span.stop)
            # Those of other spans are put into one more column, which is cut off.
            places = torch.where(inside, features - span.start, width)
            empty = values.new_zeros((*values.shape[:-1], width + 1))
            yield span.start, empty.scatter(-1, places, values)[..., :width]

    def _hidden(self, inputs: Tensor, span: slice) -> Tensor:
        """Projections of a span, (..., feature), before their activation function."""
        hidden = functional.linear(inputs, self._part(ENCODER, inputs, span))
        if self.b_enc is not None:
            hidden = hidden + self._part("b_enc", inputs, span)
        if self.decoder_norm is not None:
            hidden = hidden * self._part("decoder_norm", inputs, span)
        return hidden

    def _part(self, name: str, inputs: Tensor, span: slice) -> Tensor:
        found: Tensor = getattr(self, name)
        return found[span].to(inputs.dtype)
