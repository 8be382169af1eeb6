"""Encoders of transformers: `hf:NAME_OR_FOLDER`, models with an image and a text tower such as CLIP, SigLIP.

A folder holds config.json, weights (safetensors), preprocessor_config.json and the tokenizer's files,
as `save_pretrained` of model and processor writes them. Code that comes with a model is never run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor

from pipeline.errors import EncoderError, NetworkError, UnknownEncoder
from pipeline.networks.state_digest import state_digest
from pipeline.vision_libraries import transformers

__all__ = ["huggingface_encoder"]

T = TypeVar("T")

FOLDER = "a folder with the model and its processor, as save_pretrained writes them"

SHOWN_WEIGHTS = 3

SIDES = ("get_image_features", "get_text_features")
"""Methods that a model with two towers has."""


class _Towers:
    """A model of transformers and its processor."""

    def __init__(self, model: Any, images: Any, tokenizer: Any, device: torch.device) -> None:
        self.model, self.images, self.tokenizer, self.device = model, images, tokenizer, device
        text = getattr(model.config, "text_config", None)
        self.length = getattr(text, "max_position_embeddings", None)
        # SigLIP was trained on texts of full length, and pools their last token.
        padded = "siglip" in str(getattr(model.config, "model_type", ""))
        self.padding: bool | str = "max_length" if padded else True

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """(image, dimension) float32."""
        batch = self.images(images=list(images), return_tensors="pt")
        return _pooled(self.model.get_image_features(**batch.to(self.device)))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """(text, dimension) float32."""
        batch = self.tokenizer(
            list(texts),
            padding=self.padding,
            truncation=True,
            max_length=self.length,
            return_tensors="pt",
        )
        return _pooled(self.model.get_text_features(**batch.to(self.device)))


def huggingface_encoder(source: str, device: torch.device) -> tuple[str, Any]:
    """An encoder of transformers and its fingerprint.

    Args:
        source: the name of a model on the Hugging Face Hub, or a folder.
        device: it runs on.

    Raises:
        UnknownEncoder: when there is no such folder.
        EncoderError: when it cannot be loaded, or has not two towers.
    """
    try:
        library = transformers()
    except NetworkError as error:
        raise EncoderError(str(error)) from error
    name = f"hf:{source}"
    local = Path(source).expanduser().is_dir()
    if not local and (source.startswith((".", "/", "~")) or source.count("/") > 1):
        raise UnknownEncoder(f"{name}: there is no such folder; expected {FOLDER}")
    place = str(Path(source).expanduser()) if local else source
    verb = "read" if local else "download"

    def load(kind: str, what: str, **more: Any) -> Any:
        factory = getattr(library, kind)
        return _load(
            f"could not {verb} the {what} of {name}",
            lambda: factory.from_pretrained(place, trust_remote_code=False, **more),
        )

    config = load("AutoConfig", "configuration")
    if getattr(config, "text_config", None) is None or getattr(config, "vision_config", None) is None:
        raise EncoderError(
            f"{name} is a {type(config).__name__.removesuffix('Config')}, which has not an image and a text "
            "tower; give a dual encoder, such as hf:openai/clip-vit-base-patch32"
        )
    model, report = load("AutoModel", "model", dtype=torch.float32, output_loading_info=True)
    if report["missing_keys"]:
        lacking = ", ".join(sorted(report["missing_keys"])[:SHOWN_WEIGHTS])
        raise EncoderError(
            f"{name} lacks {lacking} and the like of {type(model).__name__}; give complete weights"
        )
    missing = [side for side in SIDES if not callable(getattr(model, side, None))]
    if missing:
        raise EncoderError(
            f"{name} is a {type(model).__name__}, which has no {' and no '.join(missing)}; "
            "give a dual encoder, such as hf:openai/clip-vit-base-patch32"
        )
    images = load("AutoImageProcessor", "image processor")
    tokenizer = load("AutoTokenizer", "tokenizer")
    model.eval().to(device)
    digest = hashlib.sha256(f"{type(model).__name__} {images.to_json_string()}".encode())
    digest.update(state_digest(model).encode())
    return digest.hexdigest(), _Towers(model, images, tokenizer, device)


def _load(what: str, action: Callable[[], T]) -> T:
    """Run a call of the library; any failure becomes an EncoderError of one line."""
    try:
        return action()
    # The library raises OSError, ValueError, KeyError, and what its readers and downloads raise.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EncoderError(f"{what}: {reason}; expected {FOLDER}, or a name") from error


def _pooled(found: Any) -> Tensor:
    """The embeddings: a tensor in older versions of the library, a field of the output in newer ones."""
    pooled: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return pooled
