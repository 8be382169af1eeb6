"""Find the default layers of a network, its block outputs and classifier, from the architecture.

A block is the outermost module with weights whose class occurs several times: ResNet's bottlenecks,
EfficientNet's inverted residuals, a transformer's encoder blocks, GoogLeNet's inception modules. A
stage, a module that only runs such blocks one after another, is not a block; its blocks are taken. In
a network without blocks (AlexNet, VGG) the activation functions are taken instead.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.networks.extra_modules import own_children
from pipeline.networks.hooks import ForwardHook, add_hooks
from pipeline.networks.trace import Call, first_tensor

__all__ = ["find_classifier", "find_classifiers", "find_default_layers"]

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)

_ACTIVATIONS: tuple[type[nn.Module], ...] = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Hardtanh,
    nn.PReLU,
    nn.Softplus,
    nn.Tanh,
    nn.Sigmoid,
)


def _weight_layers(module: nn.Module) -> int:
    """The number of modules inside that have a matrix or kernels of their own."""
    return sum(
        any(parameter.dim() >= 2 for parameter in part.parameters(recurse=False)) for part in module.modules()
    )


def _is_candidate(module: nn.Module) -> bool:
    """Whether a module could be a block: not a plain container, and with weights inside."""
    return bool(own_children(module)) and type(module) not in _CONTAINERS and _weight_layers(module) >= 1


def _runs_blocks(name: str, module: nn.Module, calls: Mapping[str, Call]) -> bool:
    """Whether a module is a stage: its output is that of the last of several blocks of one class."""
    containers = {name: module}
    containers |= {
        f"{name}.{child_name}": child
        for child_name, child in module.named_children()
        if isinstance(child, _CONTAINERS)
    }
    for place, container in containers.items():
        children = [
            (f"{place}.{child_name}", child)
            for child_name, child in container.named_children()
            if f"{place}.{child_name}" in calls
        ]
        blocks = [child for _, child in children if _weight_layers(child) >= 2]
        alike = len({type(child) for child in blocks}) == 1 and all(map(_is_candidate, blocks))
        if alike and len(blocks) == len(children):
            last = calls[children[-1][0]]
            if last.memory == calls[name].memory and _size(last) == _size(calls[name]):
                return True
    return False


def _outermost(name: str, module: nn.Module, calls: Mapping[str, Call], repeated: set[type]) -> Iterator[str]:
    """Names of the outermost blocks below a module."""
    for child_name, child in module.named_children():
        path = f"{name}.{child_name}" if name else child_name
        is_block = _is_candidate(child) and type(child) in repeated and path in calls
        if is_block and not _runs_blocks(path, child, calls):
            yield path
        else:
            yield from _outermost(path, child, calls, repeated)


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "*", name)


def _size(call: Call) -> int:
    """Values per image."""
    return math.prod(call.shape)


def find_classifier(module: nn.Module, calls: Mapping[str, Call]) -> str | None:
    """The innermost module with weights whose output is that of the network, or None."""
    final = calls[""]
    for name, call in calls.items():
        same = call.memory == final.memory and _size(call) == _size(final) and call.runs == 1
        if name and same and _weight_layers(module.get_submodule(name)):
            return name
    return None


def find_classifiers(module: nn.Module, calls: Mapping[str, Call], images: Tensor) -> tuple[str, ...]:
    """The classifier, or the pair whose weighted sum is the output of the network; empty without any.

    Networks that were distilled have a second classifier that learnt from the teacher (LeViT,
    EfficientFormer), or one for every position (VOLO).

    Args:
        module: in eval mode.
        calls: its trace by `trace_modules`.
        images: (image, channel, y, x) normalised input of one more pass, if there may be a pair.
    """
    one = find_classifier(module, calls)
    if one is not None:
        return (one,)
    shape = calls[""].shape
    alike = {
        call.memory: name
        for name, call in reversed(list(calls.items()))
        if name
        and len(shape) == 1
        and call.shape[-1:] == shape
        and call.runs == 1
        and not call.trouble
        and _weight_layers(module.get_submodule(name))
    }
    pair = sorted(alike.values(), key=lambda name: calls[name].order)[-2:]
    return tuple(pair) if len(pair) == 2 and _sums_up(module, pair, images) else ()


def _sums_up(module: nn.Module, names: Sequence[str], images: Tensor) -> bool:
    """Whether the network's output is a weighted sum of the outputs of modules."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> ForwardHook:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            tensor = first_tensor(output)
            assert tensor is not None
            outputs[name] = tensor.double().cpu().clone()

        return hook

    places = ((module.get_submodule(name), keep(name)) for name in names)
    with add_hooks(forward=[*places, (module, keep(""))]), torch.no_grad():
        module(images)
    final = outputs.pop("").flatten()
    # A classifier of every position counts by its highest score.
    parts = [each if each.dim() == 2 else each.flatten(1, -2).amax(1) for each in outputs.values()]
    columns = torch.stack([part.flatten() for part in parts], 1)
    weights = torch.linalg.lstsq(columns, final[:, None]).solution
    error = (columns @ weights).flatten() - final
    return bool(error.norm() <= 1e-4 * final.norm() and final.norm() > 0 and weights.abs().min() > 0.01)


def _find_blocks(module: nn.Module, calls: Mapping[str, Call], usable: set[str]) -> set[str]:
    """Names of the blocks, and of single modules beside them whose class occurs only once."""
    candidates = {name for name in usable if _is_candidate(module.get_submodule(name))}
    counts = Counter(type(part) for part in module.modules() if _is_candidate(part))
    repeated = {kind for kind, count in counts.items() if count >= 2}
    blocks = set(_outermost("", module, calls, repeated)) & usable
    places = {_pattern(name) for name in blocks if re.search(r"\d", name)}
    siblings = Counter(name.rpartition(".")[0] for name in blocks)
    blocks |= {
        name
        for name in candidates
        if _pattern(name) in places
        or (
            (siblings[name.rpartition(".")[0]] >= 3 and _weight_layers(module.get_submodule(name)) > 1)
            and not _runs_blocks(name, module.get_submodule(name), calls)
        )
    }
    return {name for name in blocks if not any(name.startswith(f"{outer}.") for outer in blocks)}


def _find_activations(module: nn.Module, usable: set[str]) -> set[str]:
    """Names of the activation functions; if there are none, of the layers with weights."""
    parts = {name: module.get_submodule(name) for name in usable}
    activations = {name for name, part in parts.items() if isinstance(part, _ACTIVATIONS)}
    return activations or {
        name for name, part in parts.items() if not own_children(part) and _weight_layers(part)
    }


def find_default_layers(
    module: nn.Module, calls: Mapping[str, Call], images: Tensor | None = None
) -> tuple[str, ...]:
    """Names of the block outputs and the classifier, or classifiers, in forward order.

    Args:
        module: in eval mode.
        calls: its trace by `trace_modules`.
        images: of another pass, to find a pair of classifiers; None: only a single one is found.
    """
    usable = {name for name, call in calls.items() if name and call.runs == 1 and not call.trouble}
    chosen = _find_blocks(module, calls, usable) or _find_activations(module, usable)
    classifier = find_classifier(module, calls)
    classifiers = (classifier,) if images is None else find_classifiers(module, calls, images)
    return tuple(name for name in calls if name in chosen or name in classifiers)
