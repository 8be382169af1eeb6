"""Trace a forward pass: which modules run, in which order, and what they output."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from pipeline.errors import MaxactError, NetworkError
from pipeline.networks.addresses import Address, find_tensor, output_tensors, parse_address
from pipeline.networks.hooks import ForwardHook, add_hooks

__all__ = ["NOT_IMAGES", "Call", "first_tensor", "trace_modules"]

TRACED_IMAGES = 2
"""Two, to tell the batch axis, of length 2, from axes of length 1."""

NOT_IMAGES = "does not have the images on its first axis"
"""Begins the reason why what is in windows cannot be probed."""


@dataclass(frozen=True, slots=True)
class Call:
    """The record of one module in a forward pass, or of one run or one tensor of it.

    Args:
        name: dotted name; of a module with several names, the first; of a run or a tensor of a module
            as in `pipeline.networks.addresses`.
        order: rises in the order of first completion.
        runs: number of times it ran.
        shape: of its output without the batch axis; empty if there is no tensor.
        trouble: the reason why it cannot be probed; empty if it can.
        memory: number of its output's storage, from 0 within the trace, and offset of the first
            element in it: equal for modules whose outputs share memory; (-1, 0) without a tensor.
        also: other names of the same module.
        variants: its runs if there are several, and its tensors if there are several.
    """

    name: str
    order: int
    runs: int
    shape: tuple[int, ...]
    trouble: str
    memory: tuple[int, int]
    also: tuple[str, ...] = ()
    variants: tuple[Call, ...] = ()

    @property
    def maps(self) -> tuple[Call, ...]:
        """Its tensors if several have a grid and as many axes as the first, as of parallel branches."""
        usable = [call for call in self.variants if not call.trouble and not parse_address(call.name).run]
        different = {call.memory: call for call in reversed(usable)}.values()
        alike = [call for call in usable if call in different and len(call.shape) == len(usable[0].shape)]
        return tuple(alike) if len(alike) > 1 and len(alike[0].shape) > 1 else ()


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor in an output, see `pipeline.networks.addresses.output_tensors`; None without any."""
    return find_tensor(output)


def _trouble(output: Any, tensor: Tensor | None) -> str:
    """The reason why an output cannot be probed, or an empty string."""
    if tensor is None:
        return f"outputs {type(output).__name__}, not a tensor"
    shape = tuple(tensor.shape)
    if tensor.is_complex():
        return f"outputs {tensor.dtype}; add a module that outputs its absolute value or its real part"
    if not tensor.is_floating_point():
        return f"outputs {tensor.dtype}, not floating-point activations"
    if not shape or shape[0] != TRACED_IMAGES:
        return f"{NOT_IMAGES}: shape {shape} for {TRACED_IMAGES} images"
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
        LayerError: if directions do not fit the layer they were added to.
    """
    names: dict[nn.Module, list[str]] = {}
    for name, submodule in module.named_modules(remove_duplicate=False):
        if isinstance(submodule, torch.jit.ScriptModule) or ".parametrizations." in f".{name}.":
            continue  # has no hooks; computes weights
        names.setdefault(submodule, []).append(name)
    records: dict[str, list[Call]] = defaultdict(list)
    storages: dict[StorageWeakRef, int] = {}
    ticks = itertools.count()

    def record(address: Address, output: Any, tensor: Tensor | None, others: Sequence[str]) -> Call:
        return Call(
            name=str(address),
            order=next(ticks),
            runs=1,
            shape=tuple(tensor.shape[1:]) if tensor is not None else (),
            trouble=_trouble(output, tensor),
            memory=_memory(tensor, storages),
            also=tuple(others),
        )

    def watch(submodule: nn.Module) -> ForwardHook:
        first, *others = names[submodule]

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            # The root's memory is compared with that of others, so that it is recorded as it is.
            call = record(Address(first), output, first_tensor(output), others)
            tensors = list(output_tensors(output))
            parts = tuple(
                record(Address(first, 0, place), tensor, find_tensor(tensor), ())
                for place, tensor in (tensors if len(tensors) > 1 else ())
            )
            records[first].append(replace(call, variants=parts))

        return hook

    try:
        hooks = [(submodule, watch(submodule)) for submodule in names]
        with add_hooks(forward=hooks), torch.no_grad():
            module(blank)
    except MaxactError:
        raise  # of directions or an adapter: it says what to do
    except Exception as error:  # the network's code may raise anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise NetworkError(
            f"a trial pass on an input of {tuple(blank.shape[1:])} failed: {reason}{_advice(reason)}"
        ) from error
    return {name: _merged(runs) for name, runs in records.items()}


def _merged(runs: Sequence[Call]) -> Call:
    """One record of a module from those of its runs."""
    if len(runs) == 1:
        return runs[0]
    each = (
        replace(call, name=str(replace(parse_address(call.name), run=number)), also=(), variants=())
        for number, whole in enumerate(runs, 1)
        for call in (whole, *whole.variants)
    )
    return replace(runs[-1], order=runs[0].order, runs=len(runs), variants=tuple(each))


def _advice(reason: str) -> str:
    """What to do about a failed pass, by its error message."""
    text = reason.lower()
    if any(word in text for word in _SIZES):
        return "; check that the preprocessing matches the input size and channels of the network"
    return "; a network must accept one batch (image, channel, y, x) of float32"


_SIZES = ("size", "shape", "channel", "dimension", "must match", "multiplied", "divisible", "output of")
"""Words in errors about an input that does not fit."""
