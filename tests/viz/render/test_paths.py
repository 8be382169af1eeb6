"""The paths of renderings: measured with them, later, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch import nn

from pipeline.images.preprocess import Preprocess
from pipeline.networks.network import Network
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from pipeline.store.layout import RENDERS_TABLE
from pipeline.store.schemas import PATH_VERSION, RENDERS
from pipeline.store.tables import read_sealed_table, write_table
from tests.fixtures.runs import config
from tests.fixtures.tiny import write_tars
from viz.recipes.catalog import get_recipe
from viz.render.render_index import render_index
from viz.render.table import Rendered, load_renders, merge_renders

UNITS = "0-5"


def network() -> Network:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    module = nn.Sequential(first, nn.Conv2d(8, 12, 3, stride=2)).eval()
    preprocess = Preprocess(16, 16, 16, mean=(128.0,) * 3, std=(8.0,) * 3)
    return Network.from_module(module, preprocess, default_layers=("0", "1"))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paths")
    run_index(
        config(write_tars(folder / "data", [20, 20]), folder / "out", layers=("0", "1"), top=20),
        network=network(),
    )
    return folder / "out"


def render(out: Path, *, seed: int = 0, **more: Any) -> list[Rendered]:
    recipe = get_recipe("fourier", {"steps": "2"})
    with open_index(out) as index:
        return render_index(
            index, recipe, layers="1", units=UNITS, network=network(), precision="fp32", seed=seed, **more
        )


def in_table(out: Path, objective: str = "point") -> list[Rendered]:
    return [row for row in load_renders(out) if (row.seed, row.objective) == (0, objective)]


def test_paths_that_were_left_out_are_filled_in_without_rendering_again(out: Path) -> None:
    render(out)
    measured = in_table(out)
    assert any(row.path is not None for row in measured)
    assert all((row.path is None) == (row.no_path is not None) for row in measured)
    merge_renders(out, [replace(row, path=None, no_path=None) for row in measured])
    written = {row.file: (out / row.file).stat().st_mtime_ns for row in measured}
    assert all(row.path is None and row.no_path is None for row in render(out, path=False))
    assert [row.no_path for row in render(out)] == [row.no_path for row in measured]
    assert in_table(out) == measured
    assert {row.file: (out / row.file).stat().st_mtime_ns for row in measured} == written


@pytest.mark.parametrize("version", [None, PATH_VERSION - 1])
def test_a_path_of_another_measure_is_no_path_and_is_measured_again(out: Path, version: int | None) -> None:
    render(out)
    measured = in_table(out)
    assert {row.path_version for row in measured} == {PATH_VERSION}
    table = read_sealed_table(out / RENDERS_TABLE, RENDERS)
    old = pa.array([-1.5] * len(table), pa.float32()), pa.array([version] * len(table), pa.int32())
    table = table.drop_columns(["path", "path_version"]).append_column("path", old[0])
    # As maxact 0.2.0 wrote it, without the column; and as with a measure that will have been replaced.
    columns = [field for field in RENDERS if version is not None or field.name != "path_version"]
    schema = pa.schema(columns)
    table = table.append_column("path_version", old[1]).select(schema.names)
    write_table(out / RENDERS_TABLE, schema, [table], sealed=True)
    assert all(row.path is None and row.no_path is None for row in in_table(out))
    with open_index(out) as index:
        rows = index.sql("SELECT path, no_path, path_version FROM renders").rows
    assert set(rows) == {(None, None, None)}
    render(out)
    assert in_table(out) == measured


def test_without_a_path_nothing_is_measured(out: Path) -> None:
    rows = render(out, seed=1, path=False)
    assert all(row.path is None and row.no_path is None for row in rows)


def test_a_path_that_cannot_be_measured_says_why_and_is_not_tried_again(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render(out, objective="channel - channel:3")
    rows = in_table(out, "channel - channel:3")
    assert {row.no_path for row in rows} == {"the objective is not a single unit"}

    def fail(*_: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("viz.paths.paths.Paths.measure", fail)
    render(out, objective="channel - channel:3")
    assert in_table(out, "channel - channel:3") == rows


def test_images_that_cannot_be_read_may_be_read_another_time(out: Path) -> None:
    rows = render(out, seed=2, path=False)
    data = out.parent / "data"
    away = data.rename(out.parent / "away")
    assert all(row.path is None and row.no_path is None for row in render(out, seed=2))
    away.rename(data)
    assert any(row.path is not None for row in render(out, seed=2))
    assert [row.file for row in rows] == [row.file for row in render(out, seed=2)]
