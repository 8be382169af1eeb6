"""Cache of receptive fields by architecture: they do not depend on the weights.

The key is computed from the module's representation, the shapes of its tensors, the source code of
its classes and the size of the input, so that a changed forward pass has another key.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import StoreError
from pipeline.layers.margin_search import Field
from pipeline.layers.receptive_field import Target, find_fields
from pipeline.networks.adapter import adapter_of
from pipeline.store.files import atomic_path

__all__ = ["architecture_key", "cached_fields"]

VERSION = 1
"""To be increased when `pipeline.layers.receptive_field` gives other results than before."""


def architecture_key(module: nn.Module, shape: Sequence[int]) -> str | None:
    """SHA-256 of all that receptive fields depend on; None if source code is not available."""
    digest = hashlib.sha256(f"{VERSION} {torch.__version__} {tuple(shape)}\n{module!r}".encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
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


def _read(path: Path) -> dict[str, tuple[Field, Field]]:
    """Read cached fields; none if the file is missing or damaged, since they can be measured again."""
    try:
        content = json.loads(path.read_text())
        return {name: (Field(*rows), Field(*columns)) for name, (rows, columns) in content.items()}
    except (OSError, ValueError, TypeError):
        return {}


def _write(path: Path, known: Mapping[str, tuple[Field, Field]]) -> None:
    """Write fields to the cache; failures are ignored, since they can be measured again."""
    content = {name: [astuple(rows), astuple(columns)] for name, (rows, columns) in known.items()}
    with suppress(OSError, StoreError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content))


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
    known = _read(path)
    names = {target: f"{target.module} {target.grid}" for target in targets}
    missing = [target for target in targets if names[target] not in known]
    if missing:
        found = find_fields(module, blank, missing)
        known |= {names[target]: field for target, field in zip(missing, found, strict=True)}
        _write(path, known)
    return [known[names[target]] for target in targets]
