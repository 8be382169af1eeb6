"""The exact top k of every unit over a stream of images.

Order: score descending, then image number ascending. `torch.topk` breaks ties in no fixed order,
and ties are common (a ReLU6 saturates at 6), so score and number are packed into one int64 key that
sorts in this order. Keys are unique, so any top-k of them is exact.

Empty, update and merge are pure functions of tensors, independent of files and networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = [
    "EMPTY_KEY",
    "NO_IMAGE",
    "Ranked",
    "empty_keys",
    "entrants",
    "merge_ranked",
    "pack",
    "unpack",
]

EMPTY_KEY = torch.iinfo(torch.int64).min
"""The key of an empty slot: below every packed key, minus infinity included."""

NO_IMAGE = np.iinfo(np.int64).max
"""The image_id of an empty slot: above every image's."""

_LOW_HALF = 0xFFFF_FFFF


def pack(scores: Tensor, numbers: Tensor) -> Tensor:
    """Pack scores and image numbers into keys that sort as (score, -number) does.

    The bits of a positive IEEE 754 number, read as a signed integer, sort as the number does; for
    a negative one all bits but the sign are flipped.

    Args:
        scores: float32, any shape, no NaN; -0.0 counts as 0.0.
        numbers: int64 in 0..2**32-1, broadcastable to `scores`.

    Returns:
        int64, the shape of `scores`.
    """
    bits = (scores + 0.0).contiguous().view(torch.int32)
    ordered = torch.where(bits < 0, bits ^ 0x7FFF_FFFF, bits).to(torch.int64)
    return (ordered << 32) | (_LOW_HALF - numbers)


def unpack(keys: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `pack`.

    Returns:
        scores float32 and numbers int64; -inf and -1 where a slot is empty.
    """
    ordered = (keys >> 32).to(torch.int32)
    bits = torch.where(ordered < 0, ordered ^ 0x7FFF_FFFF, ordered)
    scores = bits.view(torch.float32)
    numbers = _LOW_HALF - (keys & _LOW_HALF)
    empty = keys == EMPTY_KEY
    return scores.masked_fill(empty, -torch.inf), numbers.masked_fill(empty, -1)


def empty_keys(units: int, k: int, device: torch.device | None = None) -> Tensor:
    """The keys before the first image: (unit, k) int64."""
    return torch.full((units, k), EMPTY_KEY, dtype=torch.int64, device=device)


def entrants(keys: Tensor, floor: Tensor, scores: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the units whose list a batch changes, and their new lists.

    Args:
        keys: (unit, k) int64, each row descending.
        floor: (unit,) float32, the score in the last column of `keys`; -inf where it is empty.
        scores: (image, unit) float32, the batch's.
        numbers: (image,) int64, rising, all above those already in `keys`.

    Returns:
        units (changed,) int64; their new keys (changed, k) int64, descending; and the origin of
        each (changed, k) int64: below k the old slot, else k + the image's row in the batch.
    """
    # Numbers rise, so an image that ties with the k-th image comes after it.
    units = (scores > floor).any(0).nonzero().squeeze(1)
    fresh = pack(scores.index_select(1, units).T, numbers)
    both = torch.cat([keys.index_select(0, units), fresh], dim=1)
    best = torch.topk(both, keys.shape[1], dim=1, largest=True, sorted=True)
    return units, best.values, best.indices


@dataclass(frozen=True, slots=True)
class Ranked:
    """The k best images of every unit, best first; empty slots last.

    Args:
        score: (unit, k) float32; the activation, or its negative on the low side; -inf when empty.
        image_id: (unit, k) int64; `NO_IMAGE` when empty.
        position: (unit, k) int32; y * grid_w + x of the peak; 0 when empty.
    """

    score: npt.NDArray[np.float32]
    image_id: npt.NDArray[np.int64]
    position: npt.NDArray[np.int32]

    @classmethod
    def empty(cls, units: int, k: int) -> Ranked:
        """The identity of `merge_ranked`."""
        return cls(
            np.full((units, k), -np.inf, np.float32),
            np.full((units, k), NO_IMAGE, np.int64),
            np.zeros((units, k), np.int32),
        )

    def filtered(self, kept: npt.NDArray[np.bool_]) -> Ranked:
        """The same lists with the slots that are not kept empty.

        Args:
            kept: (unit, k); of each unit the first slots, or none.
        """
        return Ranked(
            np.where(kept, self.score, np.float32(-np.inf)),
            np.where(kept, self.image_id, NO_IMAGE),
            np.where(kept, self.position, np.int32(0)),
        )


def merge_ranked(first: Ranked, second: Ranked) -> Ranked:
    """The k best of two lists over different images; associative and commutative.

    Args:
        first: k slots per unit.
        second: as many units and slots.
    """
    k = first.score.shape[1]
    score = np.concatenate([first.score, second.score], axis=1)
    image_id = np.concatenate([first.image_id, second.image_id], axis=1)
    position = np.concatenate([first.position, second.position], axis=1)
    order = np.argsort(-score, axis=1, kind="stable")
    # The second key costs six times as much, so it is used for lists with equal scores only.
    ranked = np.take_along_axis(score, order, 1)
    tied = ((ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] > -np.inf)).any(axis=1)
    order[tied] = np.lexsort((image_id[tied], -score[tied]), axis=-1)
    order = order[:, :k]
    return Ranked(
        np.take_along_axis(score, order, 1),
        np.take_along_axis(image_id, order, 1),
        np.take_along_axis(position, order, 1),
    )
