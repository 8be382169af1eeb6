"""Look up the blueprint of a network by name: maxact's own, torchvision's, timm's, or a factory's."""

from __future__ import annotations

import fnmatch

from torch import nn

from pipeline.errors import NetworkError, UnknownNetwork, did_you_mean
from pipeline.images.preprocess import Preprocess
from pipeline.networks.blueprint import Blueprint
from pipeline.networks.libraries import (
    timm_blueprint,
    timm_names,
    torchvision_blueprint,
    torchvision_names,
)
from pipeline.networks.user_factory import call_factory, find_factory
from pipeline.networks.zoo import KNOWN

__all__ = ["find_blueprint", "is_library_name", "list_networks"]


def _user_blueprint(name: str) -> Blueprint:
    """The blueprint of `module:factory`; the factory returns a module, or a pair with its preprocessing."""
    factory = find_factory(
        name,
        what="network factory",
        missing=UnknownNetwork,
        failed=NetworkError,
        hint="give package.module:factory, path/to/file.py:factory, torchvision:NAME or timm:NAME",
    )
    made = call_factory(factory, name, what="network factory", failed=NetworkError)
    module, preprocess = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module) or not isinstance(preprocess, Preprocess | None):
        raise NetworkError(
            f"network factory {name} returned {type(made).__name__}, "
            "expected an nn.Module or a pair (nn.Module, Preprocess)"
        )
    return Blueprint(
        name=name,
        build=lambda _: module,
        publish=lambda _: (module, f"set by {name}"),
        source="the factory",
        preprocess=preprocess or Preprocess(),
    )


def find_blueprint(name: str) -> Blueprint:
    """Find a network by name.

    Raises:
        UnknownNetwork: if the name is unknown; the message suggests similar names.
        NetworkError: if a factory fails or does not return a network.
    """
    prefix, _, rest = name.partition(":")
    if name in KNOWN:
        return KNOWN[name]()
    if prefix == "torchvision":
        return torchvision_blueprint(rest)
    if prefix == "timm":
        return timm_blueprint(rest)
    if ":" in name:
        return _user_blueprint(name)
    if name in torchvision_names():
        return torchvision_blueprint(name)
    if name.split(".")[0] in timm_names():
        return timm_blueprint(name)
    near = did_you_mean(name, [*KNOWN, *torchvision_names(), *timm_names()])
    raise UnknownNetwork(f"unknown network {name!r}{near or '; see `maxact networks`'}")


def is_library_name(name: str) -> bool:
    """Whether a name stands for a network that a library builds, whoever gives it.

    Not for a factory, which is code, and not for the name of a repository on a server.
    """
    prefix, colon, rest = name.partition(":")
    if not colon:
        return name in KNOWN or name in torchvision_names() or name.split(".")[0] in timm_names()
    if prefix == "torchvision":
        return rest in torchvision_names()
    return prefix == "timm" and rest.split(".")[0] in timm_names()


def list_networks(pattern: str | None = None) -> list[tuple[str, str, str]]:
    """List the networks that `load_network` accepts: name, default layers, source of the weights.

    Args:
        pattern: a glob over the names; without one, timm's many architectures are one row.

    Returns:
        One row per network.

    Raises:
        NetworkError: if the pattern matches nothing.
    """
    found = "block outputs and classifier"
    blueprints = [make() for make in KNOWN.values()]
    rows = [(each.name, ", ".join(each.default_layers) or found, each.source) for each in blueprints]
    rows += [(f"torchvision:{name}", found, "downloaded by torchvision") for name in torchvision_names()]
    many = [(f"timm:{name}", found, "downloaded by timm") for name in timm_names()]
    if pattern is None:
        some = (
            "timm:NAME",
            found,
            f"downloaded by timm ({len(many):,}; `maxact networks 'timm:*'`)",
        )
        yours = ("MODULE:FACTORY", found, "set by your function")
        return [*rows, some, yours]
    rows += many
    matched = [row for row in rows if fnmatch.fnmatchcase(row[0], pattern)]
    matched = matched or [row for row in rows if pattern in row[0]]
    if not matched or not pattern:
        near = did_you_mean(pattern, [row[0] for row in rows])
        raise UnknownNetwork(f"no network matches {pattern!r}{near}")
    return matched
