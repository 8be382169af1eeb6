"""From the host to a device without waiting."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

__all__ = ["move"]


def move(tensor: Tensor, device: torch.device) -> Tensor:
    """A host tensor on the device.

    On CUDA the copy leaves from pinned memory on a stream of its own: while the network still
    works on one batch, the next is on its way, and the host waits for neither. Each call has a
    fresh pinned buffer from torch's cache, which takes it back when the copy is done.
    """
    if device.type != "cuda" or not tensor.numel():
        return tensor.to(device)
    copies, work = _copy_stream(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(copies):
        moved = tensor.pin_memory().to(device, non_blocking=True)
    work.wait_stream(copies)
    moved.record_stream(work)
    return moved


@functools.cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
