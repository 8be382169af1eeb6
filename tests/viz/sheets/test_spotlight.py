"""The contour around what drives a unit, on photographs and on sheets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config import RunConfig
from pipeline.images.preprocess import Preprocess
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from tests.fixtures.convnets import convnet
from tests.fixtures.tiny import write_tars
from viz.sheets import spotlight as spotlight_module
from viz.sheets.pages import draw_sheets
from viz.sheets.palette import ACCENT
from viz.sheets.spotlight import DIMMED, spotlight

pytestmark = pytest.mark.slow


def test_the_region_stays_bright_and_the_rest_is_dimmed() -> None:
    grey = Image.new("RGB", (200, 100), (200, 200, 200))
    map_ = np.zeros((4, 8), np.float32)
    map_[1:3, 5:7] = 9
    drawn = np.asarray(spotlight(grey, map_, Preprocess(100, 200, 200, fit="squash")))
    assert (drawn[50, 150] == 200).all()
    assert np.abs(drawn[50, 20].astype(int) - 200 * DIMMED).max() <= 1
    orange = (np.abs(drawn.astype(int) - np.array(ACCENT)).max(2) < 40).nonzero()
    assert len(orange[0]) > 50
    assert orange[1].min() > 100, "the contour is around the region"


def test_what_the_network_did_not_see_is_dimmed() -> None:
    grey = Image.new("RGB", (200, 100), (200, 200, 200))
    drawn = np.asarray(spotlight(grey, np.eye(4, dtype=np.float32), Preprocess(64, 64, 64)))
    assert np.abs(drawn[:, :40].astype(int) - 200 * DIMMED).max() <= 1
    flat = np.asarray(spotlight(grey, np.ones((4, 4), np.float32), Preprocess(64, 64, 64)))
    assert np.abs(flat.astype(int) - 200 * DIMMED).max() <= 1


def test_sheets_of_layers_that_see_everything(tmp_path: Path) -> None:
    network = convnet()
    tars = write_tars(tmp_path / "data", [12])
    config = RunConfig(
        data=(str(tars[0]),), out=tmp_path / "out", layers=("stem", "late", "head"), top=4, compile="off"
    )
    run_index(config, network=network)
    changed = {}
    with open_index(tmp_path / "out") as index:
        for layer in ("stem", "head"):
            pages = []
            for lit in (False, True):
                (file,) = draw_sheets(index, layers=layer, units="0-1", spotlight=lit, network=network)
                pages.append(np.asarray(Image.open(file).convert("RGB")).astype(int))
            changed[layer] = np.abs(pages[0] - pages[1]).max()
    assert changed["stem"] == 0
    assert changed["head"] > 60


def test_a_photograph_of_one_row_has_no_outline() -> None:
    assert not spotlight_module._contour(np.ones((1, 9), np.float32)).any()
    share = np.zeros((9, 9), np.float32)
    share[3:6, 3:6] = 1
    assert spotlight_module._contour(share).any()
