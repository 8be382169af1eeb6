"""Hooks on modules that are always removed, and forward passes that a hook ends early.

with add_hooks(forward=[(network.layer3, keep)]):
    run_until_stopped(network, images)       # `keep` may raise StopForward
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

__all__ = ["ForwardHook", "PreHook", "StopForward", "add_hooks", "run_until_stopped"]

ForwardHook = Callable[[nn.Module, Any, Any], Any]
"""Called with a module, its inputs and its output; what it returns, if not None, replaces the output."""

PreHook = Callable[[nn.Module, Any], Any]
"""Called with a module and its inputs, before it runs."""


class StopForward(Exception):
    """Raised by a hook to end the forward pass; caught by `run_until_stopped`."""


def add_hooks(
    *, forward: Iterable[tuple[nn.Module, ForwardHook]] = (), pre: Iterable[tuple[nn.Module, PreHook]] = ()
) -> ExitStack:
    """Register hooks; those of one module run in the order given.

    If registering one fails, those registered before it are removed.

    Args:
        forward: modules and the hooks that see their outputs.
        pre: modules and the hooks that see their inputs.

    Returns:
        A context manager that removes these hooks, and no others, when it is left or closed. Ignore
        it for hooks that stay for the lifetime of the modules.
    """
    with ExitStack() as stack:
        for module, before in pre:
            stack.callback(module.register_forward_pre_hook(before).remove)
        for module, after in forward:
            stack.callback(module.register_forward_hook(after).remove)
        return stack.pop_all()


def run_until_stopped(module: nn.Module, batch: Tensor) -> bool:
    """Run a forward pass that hooks may end by raising `StopForward`.

    Args:
        module: called with the batch.
        batch: its input.

    Returns:
        Whether a hook ended the pass; False when it ran to its end.
    """
    try:
        module(batch)
    except StopForward:
        return True
    return False
