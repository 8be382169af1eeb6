"""What models of transformers are called with, against plain loops; sizes that a configuration says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.networks import huggingface
from pipeline.networks.huggingface_inputs import Patches, PixelValues


@pytest.mark.parametrize(("height", "width"), [(8, 12), (9, 13)])
def test_patches_are_cut_row_by_row(height: int, width: int) -> None:
    """Pixels that make no whole patch are left out, as the library resizes them away."""
    batch = torch.rand(2, 3, height, width)
    empty, found = Patches(4)(batch)
    assert empty == ()
    assert found["spatial_shapes"].tolist() == [[2, 3]] * 2
    assert found["pixel_attention_mask"].tolist() == [[1] * 6] * 2
    assert found["pixel_values"].shape == (2, 6, 4 * 4 * 3)
    for image in range(2):
        for patch in range(6):
            top, left = 4 * (patch // 3), 4 * (patch % 3)
            values = [
                batch[image, channel, top + y, left + x].item()
                for y in range(4)
                for x in range(4)
                for channel in range(3)
            ]
            assert found["pixel_values"][image, patch].tolist() == values


def test_pixels_are_passed_as_they_are_and_positions_interpolated_for_another_size() -> None:
    batch = torch.rand(2, 3, 8, 12)
    assert PixelValues()(batch) == ((), {"pixel_values": batch})
    assert PixelValues((8, 12))(batch)[1].keys() == {"pixel_values"}
    assert PixelValues((8, 8))(batch)[1]["interpolate_pos_encoding"] is True


def test_a_masked_autoencoder_keeps_its_patches_in_order() -> None:
    """It sorts patches by their noise and keeps the first: all of them, as nothing is masked."""
    noise = PixelValues(patch=4)(torch.rand(2, 3, 8, 12))[1]["noise"]
    assert noise.shape == (2, 6)
    assert noise.argsort(1).tolist() == [list(range(6))] * 2


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"image_size": 96}, (96, 96, "rgb")),
        ({"image_size": [64, 96]}, (64, 96, "rgb")),
        ({"image_size": "large"}, (224, 224, "rgb")),
        ({"patch_size": 16, "num_patches": 256}, (256, 256, "rgb")),
        ({"image_size": 32, "num_channels": 1}, (32, 32, "grey")),
    ],
)
def test_the_size_of_a_model_without_a_processor(
    fields: dict[str, Any], expected: tuple[int, int, str]
) -> None:
    found = huggingface._default_preprocess(SimpleNamespace(**fields))
    assert (found.height, found.width, found.channels) == expected
    assert len(found.mean) == (1 if expected[2] == "grey" else 3)


def test_what_a_model_takes_decides_how_it_is_called() -> None:
    class Flexible:
        def forward(self, pixel_values: Any, pixel_attention_mask: Any, spatial_shapes: Any) -> None: ...

    class Masked:
        def forward(self, pixel_values: Any, noise: Any = None) -> None: ...

    class Plain:
        def forward(self, pixel_values: Any, interpolate_pos_encoding: bool = False) -> None: ...

    assert huggingface._adapter(Flexible, SimpleNamespace(patch_size=16)) == Patches(16)
    masked = SimpleNamespace(patch_size=16, mask_ratio=0.75)
    assert huggingface._adapter(Masked, masked) == PixelValues(patch=16)
    assert huggingface._adapter(Masked, SimpleNamespace(patch_size=16)) == PixelValues()
    assert huggingface._adapter(Plain, SimpleNamespace(image_size=64)) == PixelValues((64, 64))
