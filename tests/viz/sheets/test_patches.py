"""The choice of top images, and the patches cut from the originals."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.images.preprocess import Box, Fit, Preprocess
from pipeline.layers.layer import Layer
from pipeline.query.index import TopImage
from tests.fixtures.small_index import LAYERS, layer_record
from viz.inputs.top_images import choose_images
from viz.sheets.patches import NEUTRAL, crop_patch, seen_window

PREPROCESS = Preprocess(64, 64, 64)


def _layer(**changes: int) -> Layer:
    record = layer_record(LAYERS[1])
    return Layer.from_record({"name": record.pop("layer"), **record, **changes})


def _image(image_id: int, origin: str | None = None, copy_of: int | None = None) -> TopImage:
    box = Box(0, 0, 1, 1)
    return TopImage("a", 0, 1, 1.0, image_id, 0, 0, str(image_id), None, 9, 9, box, origin, copy_of)


def _ramp(width: int, height: int) -> Image.Image:
    """Draw an image whose red and green are the position of each pixel."""
    red = np.tile(np.linspace(0, 255, width), (height, 1))
    green = np.tile(np.linspace(0, 255, height)[:, None], (1, width))
    return Image.fromarray(np.stack([red, green, red * 0], axis=2).round().astype(np.uint8))


def test_copies_are_skipped_and_an_origin_is_limited() -> None:
    images = [
        _image(1),
        _image(2, copy_of=1),
        _image(3, "cat"),
        _image(4, "cat"),
        _image(5, "cat"),
        _image(6, "dog"),
        _image(7, "cat", copy_of=3),
        _image(8),
    ]
    assert [image.image_id for image in choose_images(images, 9)] == [1, 3, 4, 6, 8]
    assert [image.image_id for image in choose_images(images, 3)] == [1, 3, 4]
    assert [image.image_id for image in choose_images(images, 9, per_origin=1)] == [1, 3, 6, 8]


def test_a_copy_without_its_original_is_chosen() -> None:
    assert [i.image_id for i in choose_images([_image(5, copy_of=2), _image(2)], 9)] == [5]


def test_the_window_is_the_receptive_field_unclipped() -> None:
    assert seen_window(_layer(), 0, 3, PREPROCESS) == Box(36, -12, 75, 27)


def test_a_field_larger_than_the_input_is_the_input() -> None:
    assert seen_window(_layer(rf_h=64, rf_w=90), 1, 1, PREPROCESS) == Box(0, 0, 64, 64)
    tall = seen_window(_layer(rf_h=200, start_y=-68), 1, 1, PREPROCESS)
    assert tall == Box(4, 0, 43, 64)


def test_a_patch_shows_that_part_of_the_photograph() -> None:
    photograph = _ramp(640, 640)
    patch = np.asarray(crop_patch(photograph, Box(16, 32, 32, 48), PREPROCESS, 100))
    expected = np.asarray(photograph.crop((160, 320, 320, 480)).resize((100, 100)))
    assert np.abs(patch.astype(int) - expected).max() <= 2


def test_pixels_outside_the_input_are_neutral() -> None:
    patch = np.asarray(crop_patch(_ramp(640, 640), Box(-10, -5, 10, 15), PREPROCESS, 80))
    assert (patch[:20] == NEUTRAL).all()
    assert (patch[:, :40] == NEUTRAL).all()
    assert (patch[20:, 40:, 2] == 0).all()


def test_pixels_outside_the_centre_crop_are_neutral() -> None:
    """A centre crop removes the left of a wide image from the input."""
    patch = np.asarray(crop_patch(_ramp(1280, 640), Box(-32, 0, 32, 64), PREPROCESS, 64))
    assert (patch[:, :32] == NEUTRAL).all()
    left = int(patch[5, 33, 0])
    assert left == pytest.approx(255 * 320 / 1280, abs=8)


def test_a_window_outside_the_input_is_all_neutral() -> None:
    patch = np.asarray(crop_patch(_ramp(64, 64), Box(-40, -40, -20, -20), PREPROCESS, 16))
    assert (patch == NEUTRAL).all()


def test_a_squashed_input_has_the_aspect_ratio_of_the_original() -> None:
    squash = Preprocess(64, 64, fit="squash")
    patch = np.asarray(crop_patch(_ramp(400, 200), Box(0, 0, 64, 64), squash, 100))
    assert (patch[:25] == NEUTRAL).all()
    assert (patch[75:] == NEUTRAL).all()
    assert (patch[25:75, :, 2] == 0).all()


def test_patches_have_the_resolution_of_the_original() -> None:
    """Stripes of 2 pixels in an image of 640 pixels vanish at 64 pixels, but not in the patch."""
    stripes = np.zeros((640, 640, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 255
    patch = np.asarray(crop_patch(Image.fromarray(stripes), Box(0, 0, 16, 16), PREPROCESS, 160))
    assert patch.std() > 100


@settings(max_examples=80, deadline=None)
@example(size=(1, 1), corner=(-15, 0), field=(16, 1), fit="crop", side=8)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    corner=st.tuples(st.integers(-80, 80), st.integers(-80, 80)),
    field=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    fit=st.sampled_from(get_args(Fit)),
    side=st.integers(8, 130),
)
def test_every_window_becomes_a_square(
    size: tuple[int, int], corner: tuple[int, int], field: tuple[int, int], fit: str, side: int
) -> None:
    preprocess = Preprocess(64, 64, 70, fit=fit)  # type: ignore[arg-type]
    window = Box(corner[0], corner[1], corner[0] + field[0], corner[1] + field[1])
    patch = crop_patch(Image.new("RGB", size, (9, 9, 9)), window, preprocess, side)
    assert patch.size == (side, side)
    colours = {colour for _, colour in patch.getcolors(side * side) or []}
    assert colours <= {NEUTRAL, (9, 9, 9)}
