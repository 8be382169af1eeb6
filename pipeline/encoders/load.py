"""Load a dual encoder by name.

open_clip:ViT-B-32/laion2b_s34b_b79k    a model and weights of open_clip; also MODEL/FILE
hf:openai/clip-vit-base-patch32         a model of transformers with two towers; also a folder
package.module:factory                  your own function; also path/to/file.py:factory
"""

from __future__ import annotations

import torch

from pipeline.choices import Device
from pipeline.devices import find_device
from pipeline.encoders.factory import factory_encoder
from pipeline.encoders.huggingface import huggingface_encoder
from pipeline.encoders.open_clip import open_clip_encoder
from pipeline.encoders.protocol import DualEncoder, Encoder
from pipeline.errors import UsageError

__all__ = ["FORMS", "load_encoder", "refuse_other_forms"]

FORMS = "open_clip:MODEL/PRETRAINED, hf:NAME_OR_FOLDER, or module:factory"

MAX_SHOWN = 60
"""Letters of a name that a message repeats."""

_LIBRARIES = {"open_clip": open_clip_encoder, "hf": huggingface_encoder}


def load_encoder(name: str, *, device: Device = "auto") -> DualEncoder:
    """Load a dual encoder, and embed an image and a text with it.

    Args:
        name: see the module.
        device: on which models of libraries run; a factory's own chooses for itself.

    Raises:
        UsageError: when there is no such encoder.
        EncoderError: when it cannot be loaded, is no dual encoder, or fails.
        DeviceError: when this machine has no such device.
    """
    refuse_other_forms(name)
    library, _, rest = name.partition(":")
    place = find_device(device)
    if library in _LIBRARIES:
        fingerprint, encoder = _LIBRARIES[library](rest, place)
        return DualEncoder.checked(name, fingerprint, encoder)
    return _users(name, place)


def refuse_other_forms(name: str) -> None:
    """Refuse a text that cannot be the name of an encoder.

    Raises:
        UsageError: says which forms there are.
    """
    library, _, rest = name.partition(":")
    if not library or not rest:
        shown = name if len(name) <= MAX_SHOWN else f"{name[:MAX_SHOWN]}..."
        raise UsageError(f"{shown!r} is no encoder; expected {FORMS}")


def _users(name: str, device: torch.device) -> DualEncoder:
    fingerprint, made = factory_encoder(name, device, forms=FORMS)
    encoder: Encoder = made
    return DualEncoder.checked(name, fingerprint, encoder)
