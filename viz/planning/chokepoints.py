"""Which modules every path from a network's input to one of its layers goes through.

Read from the graph that autograd keeps of one pass: a module's output is a node of it, and all
paths go through a node when as many lead through it as there are at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from pipeline.networks.extra_modules import find_module
from pipeline.networks.network import Network
from pipeline.networks.trace import first_tensor

__all__ = ["maps_on_the_way"]


class _Reached(Exception):
    """Ends a pass at the target; never leaves this module."""


def maps_on_the_way(network: Network, target: str) -> dict[str, tuple[int, int]]:
    """The modules whose output, a map, lies on every path from the input to a module's output.

    Args:
        network: runs one pass on a grey picture and keeps its graph.
        target: dotted name; not among them itself.

    Returns:
        Rows and columns of their maps by name, in forward order; of modules with the same output
        only the first. Empty where the pass keeps no graph.
    """
    outputs: dict[str, list[Any]] = {}
    reached: list[Tensor | None] = []

    def keep(name: str, module: Any, inputs: Any, output: Any) -> None:
        # The node as it is now: what runs later may change the output in place.
        outputs.setdefault(name, []).append((_shape(output), getattr(output, "grad_fn", None)))

    def stop(module: Any, inputs: Any, output: Any) -> None:
        reached.append(first_tensor(output))
        raise _Reached

    last = find_module(network.module, target)
    parameter = next(network.module.parameters(), torch.empty(0))
    grey = torch.full((1, *network.input_shape), 128.0, device=parameter.device)
    with ExitStack() as hooks, torch.enable_grad(), suppress(_Reached):
        for name, module in network.module.named_modules():
            if name and module is not last:
                hooks.callback(module.register_forward_hook(partial(keep, name)).remove)
        hooks.callback(last.register_forward_hook(stop).remove)
        network.module(network.normalise(grey.requires_grad_()))
    if not reached or reached[0] is None or reached[0].grad_fn is None:
        return {}
    everywhere = _on_every_path(reached[0].grad_fn) - {reached[0].grad_fn}
    found: dict[Node, tuple[str, tuple[int, int]]] = {}
    for name, ((shape, node), *again) in outputs.items():
        if node in everywhere and len(shape) == 4 and not again:
            found.setdefault(node, (name, (shape[2], shape[3])))
    return dict(found.values())


def _shape(output: Any) -> tuple[int, ...]:
    return tuple(output.shape) if isinstance(output, Tensor) else ()


def _before(node: Node) -> Iterator[Node]:
    """The nodes that a node takes its input from, each as often as it does."""
    return (before for before, _ in node.next_functions if before is not None)


def _on_every_path(last: Node) -> set[Node]:
    """The nodes through which all paths go that end at the last; the input is the only leaf."""
    order = _sorted(last)
    to_leaf = dict.fromkeys(order, 0)
    for node in order:
        befores = list(_before(node))
        to_leaf[node] = sum(to_leaf[before] for before in befores) if befores else 1
    to_last = dict.fromkeys(order, 0)
    to_last[last] = 1
    for node in reversed(order):
        for before in _before(node):
            to_last[before] += to_last[node]
    return {node for node in order if to_leaf[node] * to_last[node] == to_leaf[last]}


def _sorted(last: Node) -> list[Node]:
    """All nodes that lead to the last, each behind those it takes its input from."""
    order: list[Node] = []
    seen = {last}
    stack = [(last, _before(last))]
    while stack:
        node, befores = stack[-1]
        for before in befores:
            if before not in seen:
                seen.add(before)
                stack.append((before, _before(before)))
                break
        else:
            order.append(node)
            stack.pop()
    return order
