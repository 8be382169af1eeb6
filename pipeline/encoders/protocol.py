"""What a dual encoder is, and its embeddings checked and scaled to length 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from pipeline.errors import EncoderError
from pipeline.networks.user_factory import describe_failure

__all__ = ["DualEncoder", "Embeddings", "Encoder"]

Embeddings = npt.NDArray[np.float32]
"""(row, dimension) float32, each row of length 1."""

_TEXTS_AT_ONCE = 256


class Encoder(Protocol):
    """A model with two sides. A factory returns one; those of libraries are adapted to it.

    It may have an attribute `fingerprint`, a text that changes with the model: embeddings are kept and
    used again under it. Of a `torch.nn.Module` without one it is the digest of the weights.
    """

    def embed_images(self, images: Sequence[Image.Image]) -> Any:
        """Embed RGB images of any size.

        Returns:
            (image, dimension) numbers: a tensor, an array, or what becomes one.
        """

    def embed_texts(self, texts: Sequence[str]) -> Any:
        """Embed texts.

        Returns:
            (text, dimension) numbers, with as many columns as `embed_images` gives.
        """


@dataclass(frozen=True, slots=True)
class DualEncoder:
    """An encoder whose two sides were found to fit.

    Args:
        name: as the user gave it.
        fingerprint: hexadecimal digest of what determines the embeddings.
        dimension: of an embedding.
        encoder: the model.
    """

    name: str
    fingerprint: str
    dimension: int
    encoder: Encoder

    @classmethod
    def checked(cls, name: str, fingerprint: str, encoder: Encoder) -> DualEncoder:
        """Embed one image and one text, and compare what comes of them.

        Raises:
            EncoderError: when one side fails, or gives other than finite numbers, or the two sides
                differ in size.
        """
        grey = Image.new("RGB", (64, 64), (128, 128, 128))
        image = _embed(name, "images", encoder.embed_images, [grey])
        text = _embed(name, "texts", encoder.embed_texts, ["stripes"])
        if image.shape[1] != text.shape[1]:
            raise EncoderError(
                f"the encoder {name} embeds images in {image.shape[1]:,} dimensions and texts in "
                f"{text.shape[1]:,}; a dual encoder has as many on both sides"
            )
        return cls(name, fingerprint, image.shape[1], encoder)

    def images(self, images: Sequence[Image.Image]) -> Embeddings:
        """Embed a batch of RGB images.

        Raises:
            EncoderError: when the encoder fails, or gives other than finite numbers.
        """
        return self._fitting(_embed(self.name, "images", self.encoder.embed_images, list(images)))

    def texts(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts, some hundred at a time.

        Raises:
            EncoderError: when the encoder fails, or gives other than finite numbers.
        """
        found = [
            self._fitting(
                _embed(
                    self.name,
                    "texts",
                    self.encoder.embed_texts,
                    list(texts[first : first + _TEXTS_AT_ONCE]),
                )
            )
            for first in range(0, len(texts), _TEXTS_AT_ONCE)
        ]
        return np.concatenate(found) if found else np.zeros((0, self.dimension), np.float32)

    def _fitting(self, found: Embeddings) -> Embeddings:
        if found.shape[1] != self.dimension:
            raise EncoderError(
                f"the encoder {self.name} gave embeddings of {found.shape[1]:,} numbers, and "
                f"{self.dimension:,} before"
            )
        return found


def _embed(name: str, what: str, embed: Any, given: list[Any]) -> Embeddings:
    """Call one side of an encoder, and check and scale what it gives."""
    try:
        with torch.inference_mode():
            found = embed(given)
            values = found.detach().float().cpu().numpy() if isinstance(found, torch.Tensor) else found
            values = np.asarray(values, np.float64)
    except (KeyboardInterrupt, MemoryError, torch.OutOfMemoryError):
        raise
    # A user's code, or a library's, may raise anything.
    except (Exception, SystemExit) as error:
        raise EncoderError(describe_failure(error, f"embedding {what} with {name}")) from error
    if values.ndim != 2 or len(values) != len(given) or not values.shape[1]:
        raise EncoderError(
            f"the encoder {name} gave an array of shape {values.shape} for {len(given)} {what}; expected "
            f"({len(given)}, dimension)"
        )
    length = np.linalg.norm(values, axis=1, keepdims=True)
    if not np.isfinite(values).all() or not (length > 0).all():
        kind = "NaN or infinity" if not np.isfinite(values).all() else "only zeros"
        raise EncoderError(f"the encoder {name} gave {kind} for some of {len(given)} {what}")
    return np.asarray(values / length, np.float32)
