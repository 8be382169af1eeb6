"""What models of transformers take: adapters from a batch to the arguments of their call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Patches", "PixelValues"]


@dataclass(frozen=True, slots=True)
class PixelValues:
    """Pass the batch as `pixel_values`, and nothing else unless the model needs it.

    Args:
        native: rows and columns for which the position embeddings were trained, of models that can
            interpolate them for others.
        patch: side of a patch of a masked autoencoder, which would otherwise mask and shuffle its
            patches at random.
    """

    native: tuple[int, int] | None = None
    patch: int | None = None

    def __call__(self, batch: Tensor) -> tuple[tuple[()], dict[str, Any]]:
        """The keyword arguments of the call."""
        keywords: dict[str, Any] = {"pixel_values": batch}
        size = (batch.shape[2], batch.shape[3])
        if self.native is not None and size != self.native:
            keywords["interpolate_pos_encoding"] = True
        if self.patch is not None:
            patches = (size[0] // self.patch) * (size[1] // self.patch)
            order = torch.arange(patches, device=batch.device, dtype=batch.dtype)
            keywords["noise"] = order.expand(len(batch), -1)
        return (), keywords


@dataclass(frozen=True, slots=True)
class Patches:
    """Pass the batch as a sequence of flattened patches, as SigLIP 2's NaFlex models take it.

    Args:
        side: of a patch, in pixels.
    """

    side: int

    def __call__(self, batch: Tensor) -> tuple[tuple[()], dict[str, Any]]:
        """The keyword arguments of the call; a patch is (y, x, channel)."""
        images, channels, height, width = batch.shape
        rows, columns = height // self.side, width // self.side
        cut = batch[:, :, : rows * self.side, : columns * self.side]
        parts = cut.reshape(images, channels, rows, self.side, columns, self.side)
        patches = parts.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        mask = torch.ones(patches.shape[:2], dtype=torch.int32, device=batch.device)
        shapes = torch.tensor([[rows, columns]] * images, device=batch.device)
        return (), {"pixel_values": patches, "pixel_attention_mask": mask, "spatial_shapes": shapes}
