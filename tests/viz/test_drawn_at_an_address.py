"""What is drawn from an index at an address lies there, and another machine goes on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.config import EngineConfig
from pipeline.errors import DamagedFile, UsageError
from pipeline.query.index import open_index
from pipeline.runs.out_folder import clean_index
from pipeline.runs.run import run_index
from tests.fixtures.runs import config
from tests.fixtures.storage import Machines, contents, machines
from tests.fixtures.tiny import tiny_network, write_tars
from viz.atlas.build import build_atlas
from viz.recipes.catalog import get_recipe
from viz.render.render_index import render_index
from viz.render.table import load_renders
from viz.sheets.pages import draw_sheets

__all__ = ["machines"]

pytestmark = pytest.mark.slow

RUN = "memory://bucket/run"
QUICK = get_recipe("fourier", {"steps": "2"})


@pytest.fixture
def indexed(machines: Machines, tmp_path: Path) -> Machines:
    """A machine that has nothing yet; there is an index at `RUN`."""
    tars = write_tars(tmp_path / "data", [9, 7])
    run_index(config(tars, RUN, shards_per_part=1), network=tiny_network())  # type: ignore[arg-type]
    machines.change()
    return machines


def render(units: str, **options: Any) -> list[Any]:
    with open_index(RUN, trust=True) as index:
        return render_index(
            index, layers="second", units=units, recipe=QUICK, network=tiny_network(), **options
        )


def names(prefix: str) -> set[str]:
    return {name for name in contents("bucket/run") if name.startswith(prefix)}


def test_machines_that_render_other_units_share_a_table(indexed: Machines) -> None:
    first = render("0-1")
    assert names("renders") == {"renders.parquet", *(row.file for row in first)}
    indexed.change()
    second = render("1-2")
    assert second[0].file == first[1].file
    assert names("renders") == {"renders.parquet", *(row.file for row in (*first, *second))}
    indexed.change()
    with open_index(RUN) as index:
        assert {row.unit for row in load_renders(index.out)} == {0, 1, 2}


def test_a_replaced_rendering_is_removed_at_the_address(indexed: Machines) -> None:
    (old,) = render("0")
    indexed.change()
    with open_index(RUN, trust=True) as index:
        (new,) = render_index(
            index,
            layers="second",
            units="0",
            recipe=get_recipe("fourier", {"steps": "3"}),
            network=tiny_network(),
        )
    assert old.file != new.file
    assert names("renders") == {"renders.parquet", new.file}


def test_sheets_and_atlas_are_drawn_at_the_address(indexed: Machines) -> None:
    render("0")
    indexed.change()
    with open_index(RUN, trust=True) as index:
        (page,) = draw_sheets(index, layers="second", units="0")
        assert names("sheets") == {f"sheets/{page.name}"}
        assert len(list((index.out / "renders").rglob("*.png"))) == 1, "fetched to be drawn"
        build_atlas(index, layers="second", units="0", maps=False)
    first = names("atlas")
    assert {"atlas/.files", "atlas/index.html"} <= first
    assert not any(str(indexed.cache).encode() in data for data in contents("bucket/run").values())
    indexed.change()
    with open_index(RUN, trust=True) as index:
        build_atlas(index, layers="first", units="0", maps=False)
    assert names("atlas") != first
    with open_index(RUN, trust=True) as index:
        build_atlas(index, layers="second", units="0", maps=False)
    assert names("atlas") == first


def test_a_picture_that_was_changed_is_named(indexed: Machines) -> None:
    (row,) = render("0")
    MemoryFileSystem().pipe_file(f"/bucket/run/{row.file}", b"another")
    indexed.change()
    with open_index(RUN) as index, pytest.raises(DamagedFile, match=rf"{RUN}/{row.file} was changed"):
        row.read(index.out)


def test_clean_removes_what_another_index_left(indexed: Machines, tmp_path: Path) -> None:
    render("0")
    with open_index(RUN, trust=True) as index:
        draw_sheets(index, layers="second", units="0")
    indexed.change()
    tars = write_tars(tmp_path / "more", [9, 7, 3])
    asked = config(tars, RUN, shards_per_part=1, fresh=True)  # type: ignore[arg-type]
    run_index(asked, network=tiny_network())
    assert not names("sheets") | names("renders"), "--fresh removes what is not of the same index"
    assert clean_index(RUN) == 0


def test_a_cluster_draws_in_folders_only(indexed: Machines) -> None:
    with (
        open_index(RUN, trust=True) as index,
        pytest.raises(UsageError, match=f"all nodes have as a folder, and {RUN} is none"),
    ):
        build_atlas(index, maps=False, engine="ray")
    with pytest.raises(UsageError, match="--engine local"):
        render("0", engine=EngineConfig("ray"))
