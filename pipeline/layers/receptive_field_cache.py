"""Cache of receptive fields and orders of positions by architecture: they do not depend on the weights.

The key is computed from the module's representation, the shapes of its tensors, the source code of
its classes and the size of the input, so that a changed forward pass has another key.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pipeline.errors import StoreError
from pipeline.layers.layer import Layer
from pipeline.layers.margin_search import Field
from pipeline.layers.positions import Placing, place_positions
from pipeline.layers.receptive_field import Target, find_fields
from pipeline.networks.adapter import adapter_of
from pipeline.networks.network import Network
from pipeline.store.files import atomic_path

__all__ = ["architecture_key", "cached_fields", "cached_placings"]

VERSION = 3
"""To be increased when `pipeline.layers.receptive_field` gives other results than before."""


def architecture_key(module: nn.Module, shape: Sequence[int]) -> str | None:
    """SHA-256 of all that receptive fields depend on; None if source code is not available."""
    if any(isinstance(part, torch.jit.ScriptModule | torch.fx.GraphModule) for part in module.modules()):
        return None  # their code is generated
    digest = hashlib.sha256(f"{VERSION} {torch.__version__} {tuple(shape)}\n{module!r}".encode())
    for name, tensor in module.state_dict().items():
        size = tuple(tensor.shape) if isinstance(tensor, Tensor) else repr(tensor)
        digest.update(f"{name} {size}\n".encode())
    kinds: set[Any] = {type(part) for part in module.modules()}
    adapter = adapter_of(module)
    if inspect.isroutine(adapter):
        kinds.add(adapter)
    elif adapter is not None:
        kinds.add(type(adapter))
        digest.update(f"{adapter!r}\n".encode())
    for kind in sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__)):
        if not kind.__module__.startswith("torch."):
            try:
                source = inspect.getsource(inspect.getmodule(kind) or kind)
            except (OSError, TypeError):
                return None
            digest.update(source.encode())
    return digest.hexdigest()


Known = TypeVar("Known")


def _read(path: Path, parse: Callable[[Any], Known]) -> dict[str, Known]:
    """Read what is cached; nothing if the file is missing or damaged, since it can be measured again."""
    try:
        return {name: parse(value) for name, value in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write to the cache; failures are ignored, since it can be measured again."""
    with suppress(OSError, StoreError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content))


def _parse_fields(value: Any) -> tuple[Field, Field]:
    rows, columns = value
    return Field(*rows), Field(*columns)


def _parse_placing(value: Any) -> Placing:
    order = tuple(int(place) for place in value["order"])
    if value["positions"] not in ("grid", "reordered") or (value["positions"] == "grid") == bool(order):
        raise ValueError(f"not a placing: {value}")
    return Placing(value["positions"], order)


def cached_fields(
    module: nn.Module, blank: Tensor, targets: Sequence[Target], folder: Path | None
) -> list[tuple[Field, Field]]:
    """As `pipeline.layers.receptive_field.find_fields`, but measures only fields that are not cached.

    Args:
        module: in eval mode.
        blank: (1, channel, y, x) normalised grey input.
        targets: in forward order.
        folder: of the cache, created if missing; None disables the cache.
    """
    key = None if folder is None else architecture_key(module, blank.shape[1:])
    if folder is None or key is None:
        return find_fields(module, blank, targets)
    path = folder / f"{key}.json"
    known = _read(path, _parse_fields)
    names = {target: f"{target.name} {target.grid}" for target in targets}
    missing = [target for target in targets if names[target] not in known]
    if missing:
        found = find_fields(module, blank, missing)
        known |= {names[target]: field for target, field in zip(missing, found, strict=True)}
        _write(path, {name: [astuple(rows), astuple(columns)] for name, (rows, columns) in known.items()})
    return [known[names[target]] for target in targets]


def cached_placings(
    network: Network, layers: Sequence[Layer], shown: Sequence[bool], folder: Path | None
) -> list[Placing]:
    """As `pipeline.layers.positions.place_positions`, but tests only layers that are not cached.

    Unknown positions are not cached: with other weights they may respond to their places.

    Args:
        network: in eval mode.
        layers: in forward order, with their receptive fields.
        shown: for each, whether its positions need no test.
        folder: of the cache, created if missing; None disables the cache.
    """
    if all(known or layer.grid_h * layer.grid_w == 1 for layer, known in zip(layers, shown, strict=True)):
        return [Placing("grid")] * len(layers)
    shape = (len(network.preprocess.mean), network.preprocess.height, network.preprocess.width)
    key = None if folder is None else architecture_key(network.module, shape)
    if folder is None or key is None:
        return place_positions(network, layers, shown)
    path = folder / f"{key}.positions.json"
    known = _read(path, _parse_placing)
    names = [f"{layer.name} {layer.kind} {layer.grid_h} {layer.grid_w}" for layer in layers]
    if all(name in known for name in names):
        return [known[name] for name in names]
    placings = place_positions(network, layers, shown)
    found = {
        name: placing for name, placing in zip(names, placings, strict=True) if placing.positions != "unknown"
    }
    _write(path, {name: asdict(placing) for name, placing in {**known, **found}.items()})
    return placings
