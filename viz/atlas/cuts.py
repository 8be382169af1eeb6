"""Photographs of an index, and the patches that are cut out of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.images.decode import open_original, to_network
from pipeline.images.preprocess import Box, Preprocess
from pipeline.layers.layer import Layer
from viz.atlas.content import Patch, Photograph
from viz.sheets.patches import NEUTRAL, crop_patch, seen_window

__all__ = ["cut_patch", "input_pixels", "open_photograph", "put_in_place"]


def open_photograph(data: bytes, preprocess: Preprocess) -> tuple[Image.Image, Preprocess]:
    """Decode an image, and pass on how it becomes the network's input."""
    return open_original(data), preprocess


def put_in_place(thumbnail: Image.Image, photograph: Photograph, preprocess: Preprocess) -> Image.Image:
    """Put a thumbnail, which shows the input's area only, where it lies in its photograph.

    Args:
        thumbnail: RGB.
        photograph: that it was made from.
        preprocess: from the photograph to the network's input.
    """
    whole = Box(0, 0, preprocess.width, preprocess.height)
    area = preprocess.to_original(whole, photograph.width, photograph.height)
    scale = thumbnail.width / (area.right - area.left)
    size = (max(1, round(length * scale)) for length in (photograph.width, photograph.height))
    canvas = Image.new("RGB", (next(size), next(size)), NEUTRAL)
    canvas.paste(thumbnail, (round(area.left * scale), round(area.top * scale)))
    return canvas


def cut_patch(
    photograph: Image.Image, seen: Layer, patch: Patch, preprocess: Preprocess, size: int
) -> Image.Image:
    """Cut a patch out of its photograph, see `viz.sheets.patches.crop_patch`.

    For a network that takes grey images it is cut from what that network was given, as on sheets.

    Args:
        photograph: RGB, upright.
        seen: the layer, with the receptive field that patches show.
        patch: of a unit.
        preprocess: from the photograph to the network's input.
        size: side of the patch, in pixels.
    """
    window = seen_window(seen, patch.y, patch.x, preprocess)
    if preprocess.channels == "grey":
        photograph = Image.fromarray(input_pixels(photograph, preprocess)[0].numpy()).convert("RGB")
        preprocess = replace(preprocess, fit="squash")
    return crop_patch(photograph, window, preprocess, size)


def input_pixels(photograph: Image.Image, preprocess: Preprocess) -> Tensor:
    """(channel, y, x) uint8, the network's input before normalisation, of an upright RGB photograph."""
    pixels = np.array(photograph.convert("L") if preprocess.channels == "grey" else photograph)
    tensor = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)
    return to_network(tensor, preprocess)
