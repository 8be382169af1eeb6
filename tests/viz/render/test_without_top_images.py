"""Units without top images, or with few, in recipes that are made from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.config import RunConfig
from pipeline.errors import RenderError
from pipeline.progress import Silent
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from tests.fixtures.sparse import CONSTANT, DEAD, DENSE, RARE, sparse_network, write_photographs
from viz.cli import app
from viz.inputs.inputs import Inputs
from viz.recipes.catalog import get_recipe
from viz.render.render_units import render_units

MADE_FROM_IMAGES = {
    "typical": {"steps": "2", "close_up": "0"},
    "facets": {"clusters": "2", "octaves": "2:1:1:1:1:1"},
    "accentuate": {"steps": "2", "images": "2"},
}


class Notes(Silent):
    """Keeps the messages."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sparse")
    data = write_photographs(folder / "data")
    asked = RunConfig(
        data,
        folder / "out",
        network="tests.fixtures.sparse:factory",
        layers=("sparse", "head"),
        top=5,
        compile="off",
    )
    run_index(asked)
    return folder / "out"


def render(out: Path, *words: str) -> Any:
    return CliRunner().invoke(app, ["render", str(out), *words])


@pytest.mark.parametrize("name", MADE_FROM_IMAGES)
def test_dead_units_are_skipped_with_a_note(out: Path, tmp_path: Path, name: str) -> None:
    network, reporter = sparse_network(), Notes()
    recipe = get_recipe(name, MADE_FROM_IMAGES[name])
    with open_index(out) as index:
        rows = render_units(
            network,
            index.layer("sparse"),
            [DENSE, DEAD, RARE, CONSTANT],
            recipe,
            out=tmp_path,
            inputs=Inputs(network, index),
            reporter=reporter,
        )
        rare = {image.image_id for image in index.top("sparse", RARE, n=5)}
    assert {row.unit for row in rows} == {DENSE, RARE}
    assert len(rare) == 3
    assert all({*row.images} <= rare and row.images for row in rows if row.unit == RARE)
    assert [note for note in reporter.notes if note.startswith("skipped")] == [
        "skipped: unit 1 of sparse never activates: its peak is 0 on all 24 images; "
        f"recipe {name} needs at least one top image (and 1 more unit)"
    ]


def test_a_call_that_renders_nothing_is_an_error(out: Path) -> None:
    result = render(out, "--layer", "sparse", "--units", "1,3")
    assert result.exit_code == 1
    assert result.stderr.strip().splitlines()[-1].startswith("error: unit 1 of sparse never activates")
    assert result.stdout == ""
    result = render(out, "--layer", "sparse", "--units", "2", "--objective=-point")
    assert result.exit_code == 1
    assert "unit 2 of sparse has no lowest images: its peak is 0" in result.stderr


def test_a_layer_without_top_images_does_not_stop_the_others(out: Path) -> None:
    result = render(out, "--units", "1", "--recipe", "accentuate", "--steps", "2")
    assert result.exit_code == 0
    assert "skipped: unit 1 of sparse never activates" in result.stderr
    assert "/renders/head/" in result.stdout


def test_recipes_that_start_from_noise_render_dead_units(out: Path) -> None:
    result = render(out, "--layer", "sparse", "--units", "1", "--recipe", "fourier", "--steps", "2")
    assert result.exit_code == 0


def test_objectives_of_another_kind_are_still_refused_for_what_they_are(out: Path, tmp_path: Path) -> None:
    network = sparse_network()
    with open_index(out) as index, pytest.raises(RenderError, match=r"renders units.*--recipe fourier"):
        render_units(
            network,
            index.layer("sparse"),
            [DENSE],
            get_recipe("typical", {"steps": "2"}),
            out=tmp_path,
            objective="energy",
            inputs=Inputs(network, index),
        )
