"""Look up the blueprint of a network by name: maxact's own, torchvision's, timm's, or a factory's."""

from __future__ import annotations

import fnmatch
from typing import Any

import torch
from torch import nn

from pipeline.errors import NetworkError, UnknownNetwork, did_you_mean
from pipeline.images.preprocess import Preprocess
from pipeline.networks.adapter import Adapter
from pipeline.networks.blueprint import Blueprint
from pipeline.networks.detectors import (
    detector_names,
    segmenter_names,
    torchvision_dense_blueprint,
)
from pipeline.networks.huggingface import huggingface_blueprint
from pipeline.networks.libraries import (
    timm_blueprint,
    timm_names,
    torchvision_blueprint,
    torchvision_names,
)
from pipeline.networks.onnx_networks import onnx_blueprint
from pipeline.networks.open_clip import open_clip_blueprint
from pipeline.networks.plain_modules import plain_module
from pipeline.networks.user_factory import call_factory, find_factory
from pipeline.networks.zoo import KNOWN
from pipeline.vision_libraries import prepare_torchvision

__all__ = ["find_blueprint", "is_library_name", "list_networks"]

NOT_ADAPTERS = (nn.Module, type, torch.export.ExportedProgram)
"""What is callable, but no adapter of a network."""


def _user_blueprint(name: str) -> Blueprint:
    """The blueprint of `module:factory`; see `_factory_parts` for what it returns."""
    prepare_torchvision()
    factory = find_factory(
        name,
        what="network factory",
        missing=UnknownNetwork,
        failed=NetworkError,
        hint="give package.module:factory, path/to/file.py:factory, torchvision:NAME or timm:NAME",
    )
    made = call_factory(factory, name, what="network factory", failed=NetworkError)
    module, preprocess, adapter = _factory_parts(made, name)
    return Blueprint(
        name=name,
        build=lambda _: module,
        publish=lambda _: (module, f"set by {name}"),
        source="the factory",
        preprocess=preprocess or Preprocess(),
        assumed="" if preprocess else f"{name} returns no Preprocess",
        adapter=adapter,
    )


def _factory_parts(made: Any, name: str) -> tuple[nn.Module, Preprocess | None, Adapter | None]:
    """The module, preprocessing and adapter that a factory returned, alone or as a tuple."""
    module, *others = made if isinstance(made, tuple) and made else (made,)
    if isinstance(module, torch.export.ExportedProgram):
        module = plain_module(module).module
    preprocess, adapter = None, None
    for other in others:
        if isinstance(other, Preprocess) and preprocess is None:
            preprocess = other
        elif callable(other) and not isinstance(other, NOT_ADAPTERS) and adapter is None:
            adapter = other
        elif other is not None:
            module = None
    if not isinstance(module, nn.Module):
        shown = f"({', '.join(type(part).__name__ for part in made)})" if isinstance(made, tuple) else ""
        raise NetworkError(
            f"network factory {name} returned {shown or type(made).__name__}, expected an nn.Module or an "
            "ExportedProgram, or a tuple of one with its Preprocess, an adapter (a function from the batch "
            "to the arguments of the call), or both"
        )
    return module, preprocess, adapter


def find_blueprint(name: str) -> Blueprint:
    """Find a network by name.

    Raises:
        UnknownNetwork: if the name is unknown; the message suggests similar names.
        NetworkError: if a factory fails or does not return a network.
    """
    prefix, _, rest = name.partition(":")
    if name in KNOWN:
        return KNOWN[name]()
    if prefix == "torchvision" and rest in _dense_names():
        return torchvision_dense_blueprint(rest)
    if prefix == "torchvision":
        return torchvision_blueprint(rest)
    if prefix == "timm":
        return timm_blueprint(rest)
    if prefix == "open_clip":
        return open_clip_blueprint(rest)
    if prefix == "hf":
        return huggingface_blueprint(rest)
    if name.lower().endswith(".onnx"):
        return onnx_blueprint(name)
    if ":" in name:
        return _user_blueprint(name)
    if name in _dense_names():
        return torchvision_dense_blueprint(name)
    if name in torchvision_names():
        return torchvision_blueprint(name)
    if name.split(".")[0] in timm_names():
        return timm_blueprint(name)
    near = did_you_mean(name, [*KNOWN, *torchvision_names(), *_dense_names(), *timm_names()])
    raise UnknownNetwork(f"unknown network {name!r}{near or '; see `maxact networks`'}")


def _dense_names() -> tuple[str, ...]:
    """The detectors and segmenters of torchvision."""
    return (*detector_names(), *segmenter_names())


def is_library_name(name: str) -> bool:
    """Whether a name stands for a network that a library builds, whoever gives it.

    Not for a factory, which is code, and not for the name of a repository on a server.
    """
    prefix, colon, rest = name.partition(":")
    if not colon:
        return name in KNOWN or name in torchvision_names() or name.split(".")[0] in timm_names()
    if prefix == "torchvision":
        return rest in torchvision_names() or rest in _dense_names()
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
    dense = ((detector_names(), "backbone and heads"), (segmenter_names(), found))
    rows += [
        (f"torchvision:{name}", layers, "downloaded by torchvision")
        for names, layers in dense
        for name in names
    ]
    many = [(f"timm:{name}", found, "downloaded by timm") for name in timm_names()]
    if pattern is None:
        some = (
            "timm:NAME",
            found,
            f"downloaded by timm ({len(many):,}; `maxact networks 'timm:*'`)",
        )
        foreign = (
            ("hf:NAME_OR_FOLDER", found, "downloaded by transformers, or in the folder (extra `hf`)"),
            ("open_clip:MODEL/PRETRAINED", found, "downloaded by open_clip, or a file (extra `clip`)"),
        )
        yours = ("MODULE:FACTORY", found, "set by your function")
        return [*rows, some, *foreign, yours]
    rows += many
    matched = [row for row in rows if fnmatch.fnmatchcase(row[0], pattern)]
    matched = matched or [row for row in rows if pattern in row[0]]
    if not matched or not pattern:
        near = did_you_mean(pattern, [row[0] for row in rows])
        raise UnknownNetwork(f"no network matches {pattern!r}{near}")
    return matched
