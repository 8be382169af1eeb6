"""Pixels of a photograph outside a listed patch have no effect on the activation."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import RunConfig
from pipeline.images.decode import decode
from pipeline.images.preprocess import Box, Fit, Interpolation, Preprocess
from pipeline.layers.layer import unit_view
from pipeline.networks.network import Network
from pipeline.query.index import Index, TopImage, open_index
from pipeline.runs.run import run_index
from tests.fixtures.tiny import SIDE, tiny_network

pytestmark = pytest.mark.slow

SIZES = ((SIDE, SIDE + 2), (9, 13), (41, 41), (97, 50), (20, 133), (12, 40), (SIDE + 4, SIDE + 4))
"""Width and height of the photographs: smaller than the input, larger, long, and of its very size."""


def noise(width: int, height: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_photographs(folder: Path) -> None:
    folder.mkdir()
    for number, size in enumerate(SIZES):
        Image.fromarray(noise(*size, number)).save(folder / f"{number}.png")


def changed_outside(pixels: np.ndarray, box: Box, seed: int) -> np.ndarray:
    """The photograph with other pixels everywhere but in the box."""
    rows = slice(floor(box.top), ceil(box.bottom))
    columns = slice(floor(box.left), ceil(box.right))
    changed = noise(pixels.shape[1], pixels.shape[0], seed)
    changed[rows, columns] = pixels[rows, columns]
    return changed


def activation(network: Network, index: Index, image: TopImage, pixels: np.ndarray) -> float:
    """The unit's activation at the recorded position."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    layer, seen = index.layer(image.layer), []
    module = network.module.get_submodule(layer.module)
    handle = module.register_forward_hook(lambda _m, _i, output: seen.append(output.clone()))
    with torch.no_grad():
        network.module(network.normalise(decode(stream.getvalue(), network.preprocess)[None]))
    handle.remove()
    return float(unit_view(layer, seen[0])[0, image.unit, image.y, image.x])


def listed(index: Index, layer: str) -> Iterable[TopImage]:
    for unit in range(3):
        yield from index.top(layer, unit, n=4)


@pytest.mark.parametrize("fit", ["crop", "squash", "squash_crop"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pixels_outside_the_box_do_not_matter(tmp_path: Path, interpolation: Interpolation, fit: Fit) -> None:
    geometry = Preprocess(SIDE, SIDE, SIDE + 4, interpolation, (128.0,) * 3, (1.0,) * 3, fit=fit)
    network = replace(tiny_network(), preprocess=geometry)
    write_photographs(tmp_path / "data")
    asked = RunConfig(tmp_path / "data", tmp_path / "out", layers=("first", "second"), top=4, compile="off")
    run_index(asked, network=network)
    moved = 0
    with open_index(tmp_path / "out") as index:
        for image in (*listed(index, "first"), *listed(index, "second")):
            pixels = np.array(Image.open(tmp_path / "data" / image.key))
            covered = geometry.to_original(
                index.layer(image.layer).box(image.y, image.x), image.width, image.height
            )
            for seed in range(3):
                changed = changed_outside(pixels, image.box, seed + 100)
                assert activation(network, index, image, changed) == image.activation
            changed = changed_outside(pixels, covered, 100)
            moved += activation(network, index, image, changed) != image.activation
    assert moved > 0, "without the filter's reach the box would be too small"
