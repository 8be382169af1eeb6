"""Patches of the atlas are cut as those of sheets are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.images.preprocess import Preprocess
from pipeline.layers.layer import Layer
from viz.atlas.content import Patch
from viz.atlas.cuts import cut_patch, open_photograph
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
