"""Chokepoints: the modules that every path from a network's input to one of its layers goes through.

Read from the graph that autograd records during one pass. Followed backwards from the layer, its
nodes on every path are the dominators of the input.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import networkx
import torch
from torch import Tensor
from torch.autograd.graph import Node

from pipeline.networks.addresses import RunCounter, find_tensor, parse_address
from pipeline.networks.extra_modules import find_module
from pipeline.networks.hooks import StopForward, add_hooks, run_until_stopped
from pipeline.networks.network import Network, grey_input

__all__ = ["chokepoint_maps"]

_INPUT = "input"
"""The node that stands behind every leaf of the graph; weights are frozen, so the input is the only one."""


def chokepoint_maps(network: Network, target: str) -> dict[str, tuple[int, int]]:
    """The modules before a target whose output is a map that every path from the input goes through.

    Args:
        network: in eval mode, frozen; runs one pass on a grey image.
        target: name of a layer; its module is not among those returned.

    Returns:
        Rows and columns of the maps by module name, in forward order; of modules with the same
        output only the first. Empty where the pass records no graph.

    Raises:
        LayerError: when there is no such module.
    """
    outputs: dict[str, list[Any]] = {}
    reached: list[Tensor | None] = []

    def keep(name: str, module: Any, inputs: Any, output: Any) -> None:
        # The node as it is now: a later module may change the output in place.
        outputs.setdefault(name, []).append((_shape(output), getattr(output, "grad_fn", None)))

    address, runs = parse_address(target), RunCounter()

    def stop(module: Any, inputs: Any, output: Any) -> None:
        if not runs.is_meant(target, address.run):
            return
        reached.append(find_tensor(output, address.part))
        raise StopForward

    last = find_module(network.module, address.module)
    hooks = [
        (module, partial(keep, name))
        for name, module in network.module.named_modules()
        if name and module is not last and not isinstance(module, torch.jit.ScriptModule)
    ]
    with add_hooks(forward=[*hooks, (last, stop)]), torch.enable_grad():
        run_until_stopped(network.module, grey_input(network).requires_grad_())
    if not reached or reached[0] is None or reached[0].grad_fn is None:
        return {}
    on_every_path = _input_dominators(reached[0].grad_fn)
    found: dict[Node, tuple[str, tuple[int, int]]] = {}
    for name, ((shape, node), *again) in outputs.items():
        if node in on_every_path and len(shape) == 4 and not again:
            found.setdefault(node, (name, (shape[2], shape[3])))
    return dict(found.values())


def _shape(output: Any) -> tuple[int, ...]:
    return tuple(output.shape) if isinstance(output, Tensor) else ()


def _input_dominators(last: Node) -> set[Node]:
    """The nodes that every path from the last one back to the input goes through, both left out."""
    graph = networkx.DiGraph()
    found, waiting = {last}, [last]
    while waiting:
        node = waiting.pop()
        sources = [source for source, _ in node.next_functions if source is not None]
        graph.add_edges_from((node, source) for source in sources)
        if not sources:
            graph.add_edge(node, _INPUT)
        waiting += set(sources) - found
        found.update(sources)
    dominator_of = networkx.immediate_dominators(graph, last)
    node, dominators = dominator_of[_INPUT], set()
    while node != last:
        dominators.add(node)
        node = dominator_of[node]
    return dominators
