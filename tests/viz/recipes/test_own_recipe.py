"""The recipe that CONTRIBUTING.md shows is complete: one file, one line, and it renders."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import RenderError
from tests.fixtures.convnets import convnet, layer_of
from viz import recipes
from viz.recipes import catalog
from viz.render.render_units import render_units

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """The catalogue with the file of CONTRIBUTING.md beside the others, and its line in `FILES`."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "plain.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(recipes, "__path__", [*recipes.__path__, str(tmp_path)])
    monkeypatch.setattr(catalog, "FILES", (*catalog.FILES, "plain"))
    monkeypatch.setattr(catalog, "RECIPES", catalog.read_files())
    yield catalog
    sys.modules.pop("viz.recipes.plain", None)


def test_its_options_are_listed_explained_and_checked(registered):
    recipe = registered.get_recipe("plain", {"steps": "12", "rate": "8"})
    assert (recipe.steps, recipe.rate, recipe.total_steps) == (12, 8.0, 12)
    assert registered.summarise_recipe(recipe).startswith("Adam on pixels under random shifts")
    assert all(meaning for _, _, meaning in registered.describe_recipe(recipe))
    with pytest.raises(RenderError, match="recipe plain: rate must be above 0, got 0"):
        registered.get_recipe("plain", {"rate": "0"})


def test_it_renders_and_no_picture_depends_on_its_batch(registered, tmp_path):
    network = convnet()
    layer = layer_of(network, "late")
    recipe = registered.get_recipe("plain", {"steps": "12"})
    together = render_units(network, layer, range(4), recipe, out=tmp_path / "a")
    (alone,) = render_units(network, layer, [2], recipe, out=tmp_path / "b")
    assert [row.recipe for row in together] == ["plain"] * 4
    assert np.mean([max(row.trace) > row.trace[0] for row in together]) > 0.6
    assert alone.trace == together[2].trace
    first, second = (
        np.array(Image.open(folder / row.file))
        for folder, row in ((tmp_path / "b", alone), (tmp_path / "a", together[2]))
    )
    assert np.array_equal(first, second)
