"""Match the user's patterns with module names."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.errors import LayerError, did_you_mean
from pipeline.networks.addresses import Address, parse_address
from pipeline.networks.extra_modules import INPUT
from pipeline.networks.part_places import PART
from pipeline.networks.trace import Call

__all__ = ["Offered", "is_extra", "match_layers", "of_one_depth"]


def is_extra(pattern: str) -> bool:
    """Whether a name or glob ends in that of an input or a part, see `pipeline.networks.parts`."""
    last = pattern.rpartition(".")[2]
    return last == INPUT or PART.fullmatch(last) is not None


def of_one_depth(names: Sequence[str], pattern: str) -> list[str]:
    """Of the names that a glob matches, those in which each `*` is one component.

    Args:
        names: that match.
        pattern: the glob.

    Returns:
        All names if there is none of those, or if the glob contains `**`.
    """
    near = [name for name in names if name.count(".") == pattern.count(".")]
    return list(names) if "**" in pattern or not near else near


def _matches(pattern: str, defaults: Sequence[str], names: Sequence[str], calls: Offered) -> list[str]:
    """Names that a glob matches: among the defaults; if none, or for `**`, among all."""
    if pattern in names or pattern in calls.aliases:
        return [pattern]
    near = [] if "**" in pattern else fnmatch.filter(defaults, pattern)
    if near:
        return near
    if "@" in pattern or ":" in pattern:
        return list(dict.fromkeys(calls.aliases[name] for name in fnmatch.filter(calls.aliases, pattern)))
    matched = fnmatch.filter(names, pattern)
    if is_extra(pattern):
        matched = of_one_depth(matched, pattern)
    # Of a module with several maps, each is taken.
    return [part for name in matched for part in (calls.maps.get(name) or (name,))]


@dataclass(frozen=True, slots=True)
class Offered:
    """What can be named beside modules.

    Args:
        calls: records of modules, of their runs and of their tensors.
        aliases: names to those of the records.
        maps: names of the maps of modules with several, by module.
    """

    calls: Mapping[str, Call]
    aliases: Mapping[str, str]
    maps: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, calls: Mapping[str, Call]) -> Offered:
        """Those of a trace."""
        variants = {each.name: each for call in calls.values() for each in call.variants}
        aliases = {name: name for name in variants}
        for call in calls.values():
            for each in (call, *call.variants):
                run = parse_address(each.name)
                if call.runs == 1:
                    aliases |= {str(replace(run, run=1)): each.name, _last(run): each.name}
                elif run.run == call.runs:
                    aliases[_last(run)] = each.name
        aliases.pop("@last", None)
        maps = {call.name: tuple(each.name for each in call.maps) for call in calls.values() if call.maps}
        return cls({**calls, **variants}, aliases, maps)


def _last(address: Address) -> str:
    part = f":{address.part}" if address.part else ""
    return f"{address.module}@last{part}"


def match_layers(
    patterns: Sequence[str],
    calls: Mapping[str, Call],
    names: Sequence[str],
    defaults: Sequence[str],
) -> list[str]:
    """Match patterns with module names.

    A plain name must be a layer that can be probed; of the matches of a glob, those that can be
    probed are taken.

    Args:
        patterns: names or globs over dotted names; with `@` or `:` over runs and tensors of modules, see
            `pipeline.networks.addresses`, where `@last` is the last run.
        calls: from `pipeline.networks.trace.trace_modules`.
        names: of all modules, shared ones under each of their names.
        defaults: matched first, unless a glob contains `**`.

    Returns:
        The names of the modules in forward order.

    Raises:
        LayerError: if a pattern matches nothing, or nothing that can be probed.
    """
    chosen: set[str] = set()
    offered = Offered.of(calls)
    first = {alias: call.name for call in offered.calls.values() for alias in (call.name, *call.also)}
    first |= offered.aliases
    for pattern in patterns:
        matched = _matches(pattern, defaults, names, offered)
        if not matched:
            raise LayerError(
                f"no layer matches {pattern!r}{did_you_mean(pattern, [*names, *offered.aliases])}"
                " (`maxact layers NETWORK --layers '**'` lists them all)"
            )
        reasons = {name: _why_unusable(offered.calls.get(first.get(name, name))) for name in matched}
        usable = [name for name in matched if not reasons[name]]
        if not usable:
            name = matched[0]
            raise LayerError(f"layer {name} cannot be probed: it {reasons[name]}")
        chosen |= {first[name] for name in usable}
    return sorted(chosen, key=lambda name: offered.calls[name].order)


def _why_unusable(call: Call | None) -> str:
    if call is None:
        return "does not run in a forward pass"
    if call.runs > 1:
        one = f"{call.name}@1, ..., {call.name}@{call.runs} or {call.name}@last"
        return f"runs {call.runs} times in one pass; choose {one}, or the module that contains it"
    return call.trouble
