"""Every recipe gives the pictures that it gave before."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tests.fixtures import golden_renderings
from tests.fixtures.golden_renderings import CASES, Renderings
from viz.recipes.catalog import RECIPES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Renderings:
    found = golden_renderings.render_all(tmp_path_factory.mktemp("same"))
    if os.environ.get("MAXACT_GOLDEN") == "write":
        found.save()
    return found


@pytest.fixture(scope="module")
def kept() -> Renderings:
    return golden_renderings.kept()


def test_every_recipe_is_among_them() -> None:
    assert {case.recipe for case in CASES} == set(RECIPES)


def test_pictures_are_as_they_were(rendered: Renderings, kept: Renderings) -> None:
    """On any machine within a mean difference of 2 in 255; see the next test for the same machine."""
    assert list(rendered.pictures) == list(kept.pictures)
    for name, pixels in rendered.pictures.items():
        assert pixels.shape == kept.pictures[name].shape, name
        difference = np.abs(pixels.astype(int) - kept.pictures[name].astype(int))
        assert difference.mean() <= 2, name


def test_on_the_same_machine_no_bit_differs(rendered: Renderings, kept: Renderings) -> None:
    if rendered.signature != kept.signature:
        pytest.skip(f"kept from {kept.signature}, this is {rendered.signature}")
    assert rendered.digest == kept.digest


def test_recipes_have_the_fingerprints_that_they_had(rendered: Renderings, kept: Renderings) -> None:
    """Else finished renderings would be made again."""
    assert rendered.fingerprints == kept.fingerprints
