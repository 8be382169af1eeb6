"""Rendering and drawing on a Ray cluster give the files of one machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import EngineConfig
from pipeline.errors import RenderError
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from tests.fixtures.clusters import Nodes, open_cluster
from tests.fixtures.runs import config
from tests.fixtures.tiny import tiny_network, write_tars
from viz.atlas.build import build_atlas
from viz.recipes.catalog import get_recipe
from viz.render.render_index import render_index
from viz.render.table import Rendered

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.filterwarnings("ignore")]

RAY = EngineConfig("ray")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with open_cluster(2) as found:
        yield found


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("indexed") / "out"
    tars = write_tars(tmp_path_factory.mktemp("data"), [30, 30])
    run_index(config(tars, out), network=tiny_network())
    return out


def render(out: Path, engine: EngineConfig, **options: object) -> list[Rendered]:
    recipe = get_recipe("fourier", {"steps": "3"})
    with open_index(out) as index:
        return render_index(
            index,
            recipe,
            layers=("second", "head"),
            units="0-2",
            network=tiny_network(),
            precision="fp32",
            engine=engine,
            **options,  # type: ignore[arg-type]
        )


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def test_renderings_and_the_atlas_are_those_of_one_machine(
    nodes: Nodes, indexed: Path, tmp_path: Path
) -> None:
    here, there = (Path(shutil.copytree(indexed, tmp_path / name / "out")) for name in ("here", "there"))
    rows = render(here, EngineConfig())
    assert render(there, RAY) == rows
    assert [(row.layer, row.unit) for row in rows] == [(n, u) for n in ("second", "head") for u in range(3)]
    summaries = []
    for out, engine in ((here, EngineConfig()), (there, RAY)):
        with open_index(out) as index:
            summaries.append(
                build_atlas(index, layers=("second", "head"), network=tiny_network(), engine=engine)
            )
    assert summaries[0].drawn == summaries[1].drawn > 0
    found, wanted = files(there), files(here)
    assert found.keys() == wanted.keys()
    page = str(here).encode()
    for name, data in wanted.items():
        assert found[name].replace(str(there).encode(), page) == data, name
    with open_index(there) as index:  # what is there is not drawn again
        again = build_atlas(index, layers=("second", "head"), network=tiny_network(), engine=RAY)
    assert again.drawn == 0
    assert files(there) == found


def test_what_a_worker_refuses_is_told(nodes: Nodes, indexed: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(indexed, tmp_path / "out"))
    with pytest.raises(RenderError):
        render(out, RAY, objective="nonsense")
    assert not (out / "renders").exists()
    with pytest.raises(RenderError, match="observer"):
        render(out, RAY, observer=lambda *_: None)
