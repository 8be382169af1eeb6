"""Receptive fields kept by architecture: they do not depend on the weights.

The key is made of what the architecture prints, of the shapes of its tensors, of the source code
of its classes and of the input's size: a changed forward pass is another architecture.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.errors import StoreError
from pipeline.layers.margin_search import Field
from pipeline.layers.receptive_field import Target, find_fields
from pipeline.store.files import atomic_path

__all__ = ["architecture_key", "cached_fields"]

VERSION = 1
"""Raised when `pipeline.layers.receptive_field` would find other fields."""


def architecture_key(module: nn.Module, shape: Sequence[int]) -> str | None:
    """SHA-256 of everything that the receptive fields depend on; None where code is not at hand."""
    digest = hashlib.sha256(f"{VERSION} {torch.__version__} {tuple(shape)}\n{module!r}".encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
    kinds = {type(part) for part in module.modules()}
    for kind in sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__)):
        if not kind.__module__.startswith("torch."):
            try:
                source = inspect.getsource(inspect.getmodule(kind) or kind)
            except (OSError, TypeError):
                return None
            digest.update(source.encode())
    return digest.hexdigest()


def _read(path: Path) -> dict[str, tuple[Field, Field]]:
    """What is kept; nothing where the file is missing or damaged, since it can be made again."""
    try:
        content = json.loads(path.read_text())
        return {name: (Field(*rows), Field(*columns)) for name, (rows, columns) in content.items()}
    except (OSError, ValueError, TypeError):
        return {}


def _write(path: Path, known: Mapping[str, tuple[Field, Field]]) -> None:
    """Keep the fields; a folder that cannot be written only means probing again next time."""
    content = {name: [astuple(rows), astuple(columns)] for name, (rows, columns) in known.items()}
    with suppress(OSError, StoreError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content))


def cached_fields(
    module: nn.Module, blank: Tensor, targets: Sequence[Target], folder: Path | None
) -> list[tuple[Field, Field]]:
    """As `pipeline.layers.receptive_field.find_fields`, probing only what is not kept yet.

    Args:
        module: in eval mode.
        blank: (1, channel, y, x) normalised grey input.
        targets: in forward order.
        folder: where the fields are kept, made if missing; None keeps nothing.
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
