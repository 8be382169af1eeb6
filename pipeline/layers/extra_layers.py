"""Inputs and parts of modules that patterns name: add them, and find those that the network has not.

See `pipeline.networks.extra_modules` and `pipeline.networks.parts`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import nn

from pipeline.errors import LayerError
from pipeline.layers.patterns import is_extra, of_one_depth
from pipeline.networks.addresses import parse_address
from pipeline.networks.attention_patterns import Pattern
from pipeline.networks.extra_modules import INPUT, Tap, find_module
from pipeline.networks.part_places import part_names
from pipeline.networks.parts import Output, Part
from pipeline.networks.rotary import Rotated
from pipeline.networks.trace import NOT_IMAGES, Call
from pipeline.networks.windows import find_windows

__all__ = ["add_extra", "missing_parts", "parts_of_outputs", "windows_named"]


def add_extra(module: nn.Module, pattern: str) -> None:
    """Add the inputs and parts that a pattern matches, if it names some.

    Before the name of an input or a part, `*` stands for one component: `blocks.*.cls` is no token of what is
    inside the blocks, see `pipeline.layers.patterns.of_one_depth`.

    Args:
        module: the network; changed in place.
        pattern: the name of a layer, or a glob.

    Raises:
        LayerError: if the pattern is the name of an input or a part that does not exist.
    """
    if is_extra(pattern):
        _matched(module, pattern)


def _matched(module: nn.Module, pattern: str) -> list[str]:
    """Add what a pattern matches; returns the names that it matches."""
    names = [name for name, _ in module.named_modules() if name]
    base, _, last = pattern.rpartition(".")
    if pattern in names:
        return [pattern]
    if not is_extra(pattern):
        return of_one_depth(fnmatch.filter(names, pattern), pattern)
    found = _matched(module, base)
    if not found and not any(letter in base for letter in "*?["):
        find_module(module, base)  # says what is wrong with the name
    added = []
    for name in found:
        if isinstance(module.get_submodule(name), Tap) and last == INPUT:
            continue
        for part in part_names(module, name, last):
            try:
                find_module(module, f"{name}.{part}")
            except LayerError:
                if name == base and part == last:
                    raise
            else:
                added.append(f"{name}.{part}")
    return added


def missing_parts(
    module: nn.Module, calls: Mapping[str, Call], before: Callable[[int], int | None]
) -> dict[str, Call]:
    """The parts that a trial pass has shown to be missing.

    Args:
        module: the network.
        calls: of the pass.
        before: how many of a number of tokens are before their grid; None if they have no grid.

    Returns:
        Records that say why the parts cannot be probed, by name.
    """
    found: dict[str, Call] = {}
    for name, part in module.named_modules():
        owner, _, last = name.rpartition(".")
        if owner not in calls or not isinstance(part, Part | Pattern | Rotated | Output):
            continue
        shape = calls[owner].shape
        if name not in calls:
            trouble = f"is not in the output of {owner}, of shape {shape}"
            if isinstance(part, Output):
                trouble = f"is not there: the output of {owner} has no tensor {part.number} beside others"
            if isinstance(part, Rotated):
                trouble = f"is not there: {owner} is given no rotary positions"
            if isinstance(part, Pattern):
                trouble = f"is not there: {owner} showed no weights (image, head, query, key) of that token"
            found[name] = Call(name, len(calls) + len(found), 1, (), trouble, (-1, 0))
            continue
        if isinstance(part, Rotated | Output):
            continue
        tokens = calls[name].shape[0] if isinstance(part, Pattern) else shape[0]
        number = (part.query if isinstance(part, Pattern) else part.place.index) or 0
        if last.removeprefix("from_") != "cls" and not last.removeprefix("from_").startswith("register"):
            continue
        if (prefix := before(tokens)) is not None and prefix <= number:
            trouble = f"is not there: the {tokens} tokens of {owner} are a grid without it"
            found[name] = replace(calls[name], trouble=trouble)
    return found


def parts_of_outputs(patterns: Sequence[str], trace: Callable[[], Mapping[str, Call]]) -> list[str]:
    """Patterns in which `NAME:1.cls` and the like are the names of modules, `NAME.output1.cls`.

    A tensor of an output may itself have the place `1.cls`; that is meant where it is.

    Args:
        patterns: names or globs of layers.
        trace: runs a trial pass; called if a pattern could be meant.
    """
    several = [pattern for pattern in patterns if ":" in pattern and is_extra(pattern)]
    if not several:
        return list(patterns)
    calls = trace()
    found = []
    for pattern in patterns:
        address = parse_address(pattern)
        places = [parse_address(call.name).part for call in _variants(calls, address.module)]
        whole = [place for place in places if address.part.startswith(f"{place}.")]
        if pattern in several and whole and address.part not in places and not address.run:
            last = address.part.removeprefix(f"{whole[0]}.")
            found.append(f"{address.module}.output{places.index(whole[0])}.{last}")
        else:
            found.append(pattern)
    return found


def _variants(calls: Mapping[str, Call], name: str) -> Sequence[Call]:
    """The tensors of a module that outputs several and runs once."""
    return calls[name].variants if name in calls and calls[name].runs == 1 else ()


def windows_named(module: nn.Module, calls: Mapping[str, Call]) -> dict[str, Call]:
    """Records of outputs in windows, which say how to name them as maps.

    Args:
        module: the network.
        calls: of a pass.
    """
    return {
        name: replace(call, trouble=f"{call.trouble}; its windows are joined in {name}.joined")
        for name, call in calls.items()
        if name and call.trouble.startswith(NOT_IMAGES) and find_windows(module, name) is not None
    }
