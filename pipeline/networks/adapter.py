"""Call a network with other arguments than one batch of images.

An adapter turns the batch into the arguments of the call. It is installed on the module as a hook, so
that whoever runs the network with a batch, in whatever place, runs it with these arguments:

    lambda batch: (([*batch],), {})                                   a list of images
    lambda batch: ((), {"pixel_values": batch})                       a keyword
    lambda batch: ((batch, batch.new_zeros(len(batch), 4)), {})       a second input
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from pipeline.errors import NetworkError

__all__ = ["Adapter", "adapter_of", "set_adapter"]

Adapter = Callable[[Tensor], tuple[Sequence[Any], Mapping[str, Any]]]
"""From the normalised batch (image, channel, y, x) to the positional and the keyword arguments of the
call. It is called at every pass, also with gradients and with windows of other sizes, and must take
other tensors' type and device from the batch."""


class _Adapting:
    """The forward pre-hook; calls that are not of one tensor, such as a user's own, pass unchanged."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if kwargs or len(args) != 1 or not isinstance(args[0], Tensor):
            return None
        made = self.adapter(args[0])
        if not _is_call(made):
            raise NetworkError(
                f"the adapter of {type(module).__name__} returned {_shown(made)}, expected a pair of "
                "positional and keyword arguments, such as (batch,), {}"
            )
        positional, keywords = made
        return tuple(positional), dict(keywords)


def _is_call(made: Any) -> bool:
    """Whether an adapter's result is a pair of a sequence and a mapping."""
    if not isinstance(made, tuple) or len(made) != 2:
        return False
    return isinstance(made[0], tuple | list) and isinstance(made[1], Mapping)


def _shown(made: Any) -> str:
    """The types of a result, for a message."""
    if isinstance(made, tuple):
        return f"({', '.join(type(part).__name__ for part in made)})"
    return type(made).__name__


def set_adapter(module: nn.Module, adapter: Adapter | None) -> None:
    """Install an adapter on a module in place of an earlier one; None removes it."""
    for key, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, _Adapting):
            del module._forward_pre_hooks[key]
            module._forward_pre_hooks_with_kwargs.pop(key, None)
    if adapter is not None:
        module.register_forward_pre_hook(_Adapting(adapter), with_kwargs=True, prepend=True)


def adapter_of(module: nn.Module) -> Adapter | None:
    """The adapter that is installed on a module, or None."""
    hooks = module._forward_pre_hooks.values()
    return next((hook.adapter for hook in hooks if isinstance(hook, _Adapting)), None)
