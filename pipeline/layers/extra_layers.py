"""Inputs and parts of modules that patterns name: add them, and find those that the network has not.

See `pipeline.networks.extra_modules` and `pipeline.networks.parts`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import nn

from pipeline.errors import LayerError
from pipeline.layers.patterns import is_extra, of_one_depth
from pipeline.networks.extra_modules import INPUT, Tap, find_module
from pipeline.networks.part_places import part_names
from pipeline.networks.parts import Part, Pattern
from pipeline.networks.trace import Call

__all__ = ["add_extra", "missing_parts"]


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
        if not isinstance(part, Part | Pattern) or owner not in calls:
            continue
        shape = calls[owner].shape
        if name not in calls:
            if isinstance(part, Part):
                trouble = f"is not in the output of {owner}, of shape {shape}"
                found[name] = Call(name, len(calls) + len(found), 1, (), trouble, (-1, 0))
            continue
        tokens = calls[name].shape[0] if isinstance(part, Pattern) else shape[0]
        number = 0 if isinstance(part, Pattern) else part.index
        if last not in ("cls", "from_cls") and not last.startswith("register"):
            continue
        if (prefix := before(tokens)) is not None and prefix <= number:
            trouble = f"is not there: the {tokens} tokens of {owner} are a grid without it"
            found[name] = replace(calls[name], trouble=trouble)
    return found
