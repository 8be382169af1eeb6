"""Match the user's patterns with module names."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence

from pipeline.errors import LayerError, did_you_mean
from pipeline.networks.trace import Call

__all__ = ["match_layers"]


def _matches(pattern: str, defaults: Sequence[str], names: Sequence[str]) -> list[str]:
    """Names that a glob matches: among the defaults; if none, or for `**`, among all."""
    near = [] if "**" in pattern else fnmatch.filter(defaults, pattern)
    return [pattern] if pattern in names else near or fnmatch.filter(names, pattern)


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
        patterns: names or globs over dotted names.
        calls: from `pipeline.networks.trace.trace_modules`.
        names: of all modules, shared ones under each of their names.
        defaults: matched first, unless a glob contains `**`.

    Returns:
        The names of the modules in forward order.

    Raises:
        LayerError: if a pattern matches nothing, or nothing that can be probed.
    """
    chosen: set[str] = set()
    first = {alias: call.name for call in calls.values() for alias in (call.name, *call.also)}
    for pattern in patterns:
        matched = _matches(pattern, defaults, names)
        if not matched:
            raise LayerError(
                f"no layer matches {pattern!r}{did_you_mean(pattern, names)}"
                " (`maxact layers NETWORK --layers '**'` lists them all)"
            )
        reasons = {name: _why_unusable(calls.get(first.get(name, name))) for name in matched}
        usable = [name for name in matched if not reasons[name]]
        if not usable:
            name = matched[0]
            raise LayerError(f"layer {name} cannot be probed: it {reasons[name]}")
        chosen |= {first[name] for name in usable}
    return sorted(chosen, key=lambda name: calls[name].order)


def _why_unusable(call: Call | None) -> str:
    if call is None:
        return "does not run in a forward pass"
    if call.runs > 1:
        return f"runs {call.runs} times in one pass; choose the module that contains it"
    return call.trouble
