"""Patches of the atlas are cut as those of sheets are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.images.preprocess import Preprocess
from pipeline.layers.layer import Layer
from viz.atlas.content import Patch, Photograph
from viz.atlas.cuts import cut_patch, open_photograph, put_in_place
from viz.sheets.patches import crop_patch, open_shown, seen_window

SEEN = Layer("stem", 0, "map", 4, 0, 7, 7, 9, 9, 4, 4, -2, -2)


@pytest.mark.parametrize(
    "preprocess",
    [Preprocess(28, 28, 32), Preprocess(28, 28, 32, channels="grey", mean=(0.0,), std=(1.0,))],
    ids=["colour", "grey"],
)
def test_a_patch_is_that_of_a_sheet(preprocess: Preprocess) -> None:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    photograph, same = open_photograph(stream.getvalue(), preprocess)
    cut = np.asarray(cut_patch(photograph, SEEN, Patch(0, 1.0, 3, 2, 1), same, 32))
    window = seen_window(SEEN, 3, 2, preprocess)
    shown, its_preprocess = open_shown(stream.getvalue(), preprocess)
    assert np.array_equal(cut, np.asarray(crop_patch(shown, window, its_preprocess, 32)))
    assert (cut.max(axis=2) == cut.min(axis=2)).all() == (preprocess.channels == "grey")


@pytest.mark.parametrize(("width", "height"), [(120, 90), (90, 120), (64, 64)])
def test_a_thumbnail_lies_where_its_photograph_was_seen(width: int, height: int) -> None:
    """The middle of the photograph, as large as the network sees it; the rest of it is neutral."""
    preprocess = Preprocess(28, 28, 32)
    thumbnail = Image.new("RGB", (56, 56), "red")
    placed = np.asarray(put_in_place(thumbnail, Photograph(0, "k", None, width, height), preprocess))
    scale = 56 / (28 / 32 * min(width, height))
    np.testing.assert_allclose(placed.shape, (height * scale, width * scale, 3), atol=1.5)
    red = (placed == (255, 0, 0)).all(2)
    rows, columns = red.any(1).nonzero()[0], red.any(0).nonzero()[0]
    assert (len(rows), len(columns)) == (56, 56)
    assert red[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    for seen, length in ((rows, placed.shape[0]), (columns, placed.shape[1])):
        assert abs(seen[0] - (length - 1 - seen[-1])) <= 2
