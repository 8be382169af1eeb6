"""Encoders of open_clip: `open_clip:MODEL/PRETRAINED`, with the library's transform and tokenizer.

PRETRAINED is one of open_clip's tags, or a file with the weights of the whole model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pipeline.errors import EncoderError, NetworkError, UnknownEncoder, did_you_mean
from pipeline.networks.state_digest import state_digest
from pipeline.vision_libraries import open_clip

__all__ = ["open_clip_encoder"]


class _OpenClip:
    """A model of open_clip, its transform of images and its tokenizer."""

    def __init__(
        self, model: Any, transform: Callable[[Image.Image], Tensor], tokenizer: Any, device: torch.device
    ) -> None:
        self.model, self.transform, self.tokenizer, self.device = model, transform, tokenizer, device

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """(image, dimension) float32."""
        # Pillow resizes outside Python's lock.
        with ThreadPoolExecutor(thread_name_prefix="maxact-transform") as pool:
            batch = torch.stack(list(pool.map(self.transform, images)))
        found: Tensor = self.model.encode_image(batch.to(self.device))
        return found

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """(text, dimension) float32."""
        found: Tensor = self.model.encode_text(self.tokenizer(list(texts)).to(self.device))
        return found


def open_clip_encoder(source: str, device: torch.device) -> tuple[str, Any]:
    """An encoder of open_clip and its fingerprint.

    Args:
        source: MODEL/PRETRAINED.
        device: it runs on.

    Raises:
        UnknownEncoder: when open_clip has no such model or weights.
        EncoderError: when it is not installed, or the weights cannot be loaded.
    """
    try:
        library = open_clip()
    except NetworkError as error:
        raise EncoderError(str(error)) from error
    model, _, pretrained = source.partition("/")
    name = f"open_clip:{source}"
    if library.get_model_config(model) is None:
        raise UnknownEncoder(f"open_clip has no model {model!r}{did_you_mean(model, library.list_models())}")
    weights = _find_weights(library, model, pretrained)
    try:
        module, _, transform = library.create_model_and_transforms(model, weights, device=device)
        tokenizer = library.get_tokenizer(model)
    # The library fetches through urllib or the Hub, and reads with torch or safetensors.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EncoderError(
            f"could not load {name}: {reason}; give open_clip:{model}/FILE with weights of the whole model"
        ) from error
    module.eval()
    digest = hashlib.sha256(f"{model} {transform} {state_digest(module)}".encode())
    return digest.hexdigest(), _OpenClip(module, transform, tokenizer, device)


def _find_weights(library: Any, model: str, pretrained: str) -> str:
    """The tag or the file that the weights are in."""
    tags = library.list_pretrained_tags_by_model(model)
    if pretrained in tags:
        return pretrained
    path = Path(pretrained).expanduser()
    if pretrained and path.is_file():
        return str(path)
    near = did_you_mean(pretrained, tags) or (f"; it has {', '.join(tags)}" if tags else "")
    if not pretrained:
        raise UnknownEncoder(f"open_clip:{model} names no weights; give open_clip:{model}/PRETRAINED{near}")
    raise UnknownEncoder(
        f"open_clip has no weights {pretrained!r} of {model}, and there is no such file{near}"
    )
