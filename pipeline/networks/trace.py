"""One forward pass, watched: which module ran when, and what it gave."""

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
"""Two, so that an axis of length 2 is the batch's and one of length 1 is not."""


@dataclass(frozen=True, slots=True)
class Call:
    """What one module did in a forward pass.

    Args:
        name: dotted; of a module known by several names, the first.
        order: of its first completion, from 0.
        runs: how often it ran.
        shape: of its output without the batch; empty when there is no usable tensor.
        trouble: why it cannot be probed, empty when it can.
        memory: its output's storage, numbered from 0 within the trace, and the offset of the first
            element in it: the same for two modules whose outputs share memory; (-1, 0) without a tensor.
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
    """The tensor of an output; of a tuple, list or dictionary the first one; None without any."""
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
    """Why an output cannot be probed, or an empty string."""
    if tensor is None:
        return f"gives no tensor but {type(output).__name__}"
    shape = tuple(tensor.shape)
    if not tensor.is_floating_point():
        return f"gives {tensor.dtype}, not activations"
    if not shape or shape[0] != TRACED_IMAGES:
        return f"does not keep the images on its first axis: {shape} for {TRACED_IMAGES} images"
    if len(shape) not in (2, 3, 4):
        return f"gives {len(shape)} axes, {shape}; expected 2, 3 or 4"
    return ""


def _memory(tensor: Tensor | None, storages: dict[StorageWeakRef, int]) -> tuple[int, int]:
    """A tensor's storage by number, and its offset in it.

    An address does not identify an output, since memory that was freed during the pass is handed
    out again. A weak reference does, and frees the memory all the same.
    """
    if tensor is None:
        return -1, 0
    storage = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
    return storages.setdefault(storage, len(storages)), int(tensor.storage_offset())


def trace_modules(module: nn.Module, blank: Tensor) -> dict[str, Call]:
    """Run the module once and record every submodule that ran.

    Args:
        module: in eval mode.
        blank: (image, channel, y, x) normalised input, `TRACED_IMAGES` images.

    Returns:
        By name, in the order of completion; the module itself under the empty name.

    Raises:
        NetworkError: when the pass fails.
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
            "the preprocessing must give the size and channels that the network takes"
        ) from error
    return calls
