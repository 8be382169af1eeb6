"""Renderings that a circuit decides are told from honest ones by their paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import RunConfig
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from tests.fixtures.fooling import UNITS, Circuit, fooling_network, picture, write_photographs
from viz.paths.likeness import is_unusual
from viz.recipes.catalog import get_recipe
from viz.render.measure import open_picture
from viz.render.render_index import render_index
from viz.render.table import Rendered

pytestmark = pytest.mark.slow

CIRCUITS: tuple[Circuit, ...] = ("embedded", "silent", "deep embedded", "deep silent")

LEAST_FOOLED = 15
"""Of 16 units: ascent finds another optimum than the circuit's for one of the deep silent ones."""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("fooling") / "data")


def render(photographs: Path, circuit: Circuit) -> tuple[list[Rendered], Path, np.ndarray]:
    """The rows of `fourier`, the folder, and the highest activation of every unit in the dataset."""
    out = photographs.parent / circuit
    network = fooling_network(circuit)
    run_index(RunConfig(data=(str(photographs),), out=out, network=circuit, top=20), network=network)
    with open_index(out) as index:
        rows = render_index(
            index,
            get_recipe("fourier", {"steps": "96"}),
            layers="units",
            network=network,
            precision="fp32",
        )
        highest = index.sql("SELECT max FROM units WHERE layer = 'units' ORDER BY unit").rows
    return rows, out, np.array(highest)


def test_fooled_units_are_told_from_honest_ones(photographs: Path) -> None:
    """At least 95 % of the fooled units are flagged, at most 5 % of the honest ones."""
    honest, _, usual = render(photographs, "honest")
    assert all(row.path is not None for row in honest)
    assert sum(is_unusual(row.path) for row in honest) <= 0.05 * UNITS
    for circuit in CIRCUITS:
        rows, out, highest = render(photographs, circuit)
        assert np.array_equal(highest, usual), "photographs activate the units as without the circuit"
        fooled = [row for row in rows if row.best_real and row.activation > 3 * row.best_real]
        assert len(fooled) >= LEAST_FOOLED
        assert sum(is_unusual(row.path) for row in fooled) >= 0.95 * len(fooled)
        if circuit == "embedded":
            assert min(shown(out, row) for row in rows) > 0.3


def shown(out: Path, row: Rendered) -> float:
    """Highest correlation of a rendering with the embedded picture, over places."""
    pixels = open_picture(out / row.file, 3).float()
    wanted = picture() / picture().norm()
    side = wanted.shape[-1]
    windows = pixels.unfold(1, side, 1).unfold(2, side, 1).permute(1, 2, 0, 3, 4).flatten(2)
    windows = windows - windows.view(*windows.shape[:2], 3, -1).mean(3).repeat_interleave(side * side, 2)
    return float((windows @ wanted.flatten() / windows.norm(dim=2).clamp(min=1e-6)).max())


def test_the_embedded_picture_has_no_mean() -> None:
    assert torch.allclose(picture().mean((1, 2)), torch.zeros(3), atol=1e-6)
