"""Files of tensors: written atomically, and read without running anything that they name."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import StoreError
from pipeline.store.files import atomic_path

__all__ = ["load_tensors", "save_tensors"]


def save_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write tensors, numbers and containers of them to one file, atomically.

    Raises:
        StoreError: when it cannot be written.
    """
    # `torch.save` reports a full disk as a RuntimeError: the file is written here instead.
    stream = io.BytesIO()
    torch.save(content, stream)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot create {path.parent}: {error.strerror or error}") from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(stream.getbuffer())


def load_tensors(path: Path, device: torch.device) -> dict[str, Any]:
    """The content of a file that `save_tensors` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it cannot be read, or is no such file.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise
    except (pickle.UnpicklingError, EOFError, OSError, RuntimeError, LookupError, TypeError) as error:
        raise ValueError(f"{path} cannot be read: {type(error).__name__}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} has no dictionary")
    return content
