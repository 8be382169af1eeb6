"""Trace a forward pass: which modules run, in which order, and what they output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from pipeline.errors import NetworkError
from pipeline.networks.hooks import ForwardHook, add_hooks

__all__ = ["Call", "first_tensor", "trace_modules"]

TRACED_IMAGES = 2
"""Two, to tell the batch axis, of length 2, from axes of length 1."""


@dataclass(frozen=True, slots=True)
class Call:
    """The record of one module in a forward pass.

    Args:
        name: dotted name; of a module with several names, the first.
        order: index in the order of first completion, from 0.
        runs: number of times it ran.
        shape: of its output without the batch axis; empty if there is no tensor.
        trouble: the reason why it cannot be probed; empty if it can.
        memory: number of its output's storage, from 0 within the trace, and offset of the first
            element in it: equal for modules whose outputs share memory; (-1, 0) without a tensor.
        also: other names of the same module.
    """

    name: str
    order: int
    runs: int
    shape: tuple[int, ...]
    trouble: str
    memory: tuple[int, int]
    also: tuple[str, ...] = ()


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor in an output, which may be a tensor, tuple, list or dictionary; None without any."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, tuple | list):
        for item in output:
            found = first_tensor(item)
            if found is not None:
                return found
    return None


def _trouble(output: Any, tensor: Tensor | None) -> str:
    """The reason why an output cannot be probed, or an empty string."""
    if tensor is None:
        return f"outputs {type(output).__name__}, not a tensor"
    shape = tuple(tensor.shape)
    if not tensor.is_floating_point():
        return f"outputs {tensor.dtype}, not floating-point activations"
    if not shape or shape[0] != TRACED_IMAGES:
        return f"does not have the images on its first axis: shape {shape} for {TRACED_IMAGES} images"
    if len(shape) not in (2, 3, 4):
        return f"outputs {len(shape)} axes, shape {shape}; expected 2, 3 or 4"
    return ""


def _memory(tensor: Tensor | None, storages: dict[StorageWeakRef, int]) -> tuple[int, int]:
    """A tensor's storage by number, and its offset in it.

    An address does not identify a storage, since memory that is freed during the pass is allocated
    again. A weak reference does, without keeping the memory allocated.
    """
    if tensor is None:
        return -1, 0
    storage = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
    return storages.setdefault(storage, len(storages)), int(tensor.storage_offset())


def trace_modules(module: nn.Module, blank: Tensor) -> dict[str, Call]:
    """Run a module once and record every submodule that runs.

    Args:
        module: in eval mode.
        blank: (image, channel, y, x) normalised input, `TRACED_IMAGES` images.

    Returns:
        Records by name, in the order of completion; the module itself has an empty name.

    Raises:
        NetworkError: if the pass fails.
    """
    names: dict[nn.Module, list[str]] = {}
    for name, submodule in module.named_modules(remove_duplicate=False):
        names.setdefault(submodule, []).append(name)
    calls: dict[str, Call] = {}
    storages: dict[StorageWeakRef, int] = {}

    def watch(submodule: nn.Module) -> ForwardHook:
        first, *others = names[submodule]

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            seen = calls.get(first)
            tensor = first_tensor(output)
            calls[first] = Call(
                name=first,
                order=seen.order if seen else len(calls),
                runs=seen.runs + 1 if seen else 1,
                shape=tuple(tensor.shape[1:]) if tensor is not None else (),
                trouble=_trouble(output, tensor),
                memory=_memory(tensor, storages),
                also=tuple(others),
            )

        return hook

    try:
        hooks = [(submodule, watch(submodule)) for submodule in names]
        with add_hooks(forward=hooks), torch.no_grad():
            module(blank)
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise NetworkError(
            f"a trial pass on an input of {tuple(blank.shape[1:])} failed: {reason}; "
            "check that the preprocessing matches the input size and channels of the network"
        ) from error
    return calls
