"""Files of tensors: written atomically with a digest, and read without running what they name."""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from pipeline.store.files import atomic_path, make_folder
from pipeline.store.seals import ZIP, is_plain_archive, seal_archive

__all__ = ["load_tensors", "save_tensors"]

ERRORS = (
    OSError,
    EOFError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a damaged file raises."""


def save_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write tensors, numbers and containers of them to one file, atomically.

    Raises:
        StoreError: when it cannot be written.
    """
    # `torch.save` reports a full disk as a RuntimeError: the file is written here instead.
    stream = io.BytesIO()
    torch.save(content, stream)
    make_folder(path.parent)
    with atomic_path(path) as temporary:
        temporary.write_bytes(seal_archive(stream.getvalue()))


def load_tensors(path: Path, device: torch.device) -> dict[str, Any]:
    """The content of a file that `save_tensors` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it cannot be read, is damaged, or is no such file; the message says which.
    """
    try:
        data = path.read_bytes()
        intact = ZIP.is_intact(data)
        if intact is None and zipfile.is_zipfile(path):
            intact = is_plain_archive(data)
        if intact is False:
            raise ValueError("it was changed after it was written (its SHA-256 differs)")
        # Files of earlier versions carry no digest; `torch.load` does not compare the checksums that
        # `torch.save` writes.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"its checksums do not match, at {damaged}")
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise
    except ERRORS as error:
        raise ValueError(str(error).partition("\n")[0] or type(error).__name__) from error
    if not isinstance(content, dict):
        raise ValueError("it holds no dictionary")
    return content
