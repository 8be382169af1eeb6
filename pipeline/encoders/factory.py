"""Encoders of the user's own: `module:factory` returns an object with two methods."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.errors import EncoderError, UnknownEncoder
from pipeline.networks.state_digest import state_digest
from pipeline.networks.user_factory import call_factory, find_factory
from pipeline.vision_libraries import prepare_torchvision

__all__ = ["factory_encoder"]

METHODS = ("embed_images", "embed_texts")


def factory_encoder(name: str, device: torch.device, *, forms: str) -> tuple[str, Any]:
    """Call the user's function, without arguments.

    Args:
        name: `package.module:function` or `path/to/file.py:function`.
        device: to which the object is moved, if it is a module of torch.
        forms: of the names of encoders, for messages.

    Returns:
        The encoder's fingerprint, and what the function returned.

    Raises:
        UnknownEncoder: when there is no such function.
        EncoderError: when it fails, or returns no encoder.
    """
    prepare_torchvision()
    what = "encoder factory"
    factory = find_factory(
        name, what=what, missing=UnknownEncoder, failed=EncoderError, hint=f"expected {forms}"
    )
    made = call_factory(factory, name, what=what, failed=EncoderError)
    missing = [method for method in METHODS if not callable(getattr(made, method, None))]
    if missing:
        raise EncoderError(
            f"{what} {name} returned a {type(made).__name__}, which has no {' and no '.join(missing)}; "
            "expected an object with embed_images(images) and embed_texts(texts)"
        )
    if isinstance(made, nn.Module):
        made = made.eval().to(device)
    return _fingerprint(name, factory, made), made


def _fingerprint(name: str, factory: Callable[..., Any], made: Any) -> str:
    """A digest of what the encoder says of itself, of its weights and code, or of its name and code."""
    said = getattr(made, "fingerprint", None)
    digest = hashlib.sha256()
    if isinstance(said, str) and said:
        digest.update(said.encode())
        return digest.hexdigest()
    if isinstance(made, nn.Module):
        digest.update(state_digest(made).encode())
    else:
        digest.update(name.encode())
    for source in (_source_of(factory), _source_of(type(made))):
        if source and Path(source).is_file():
            digest.update(Path(source).read_bytes())
    return digest.hexdigest()


def _source_of(code: Any) -> str | None:
    """The file of a function or class, also of a decorated one."""
    try:
        return inspect.getsourcefile(inspect.unwrap(code))
    except (TypeError, ValueError):  # of an extension, or an object that is called
        return None
