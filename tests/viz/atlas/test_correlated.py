"""Units with the highest correlation, against NumPy, and on the pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.query.index import Index, open_index
from tests.fixtures.small_index import build_index
from viz.atlas.build import build_atlas
from viz.atlas.correlated import CORRELATED, correlated_units


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with open_index(build_index(tmp_path_factory.mktemp("small"), keep_peaks=True)) as opened:
        yield opened


@pytest.mark.parametrize("among", [None, range(12)])
def test_they_are_those_of_numpy_and_of_the_sql_that_is_shown(index: Index, among: range | None) -> None:
    asked = [0, 3, 7, 11]  # the last one is never active
    found = correlated_units(index, "blocks.1", asked, count=4, among=among)
    peaks = index.activations("blocks.1").astype(np.float64)
    others = asked if among is None else list(among)
    for unit in asked[:-1]:
        every = {
            other: float(np.corrcoef(peaks[:, unit], peaks[:, other])[0, 1])
            for other in others
            if other not in (unit, 11)
        }
        best = sorted(every, key=lambda other: -every[other])[:4]
        assert [each.unit for each in found[unit]] == best
        assert [each.correlation for each in found[unit]] == pytest.approx([every[other] for other in best])
        if among is not None:
            rows = index.sql(CORRELATED, layer="blocks.1", unit=unit, count=20).rows
            shown = [row[0] for row in rows if row[1] is not None and not np.isnan(row[1])][:4]
            assert shown == best
    assert found[11] == ()


def test_without_kept_peaks_there_are_none(tmp_path: Path) -> None:
    with open_index(build_index(tmp_path)) as plain:
        assert correlated_units(plain, "blocks.1", [0, 1], count=4) == {}


@pytest.mark.slow
def test_the_page_of_a_unit_has_them_with_what_gives_them(tmp_path: Path) -> None:
    with open_index(build_index(tmp_path, keep_peaks=True)) as opened:
        build_atlas(opened, layers="blocks.1", maps=False)
        (best, *_) = correlated_units(opened, "blocks.1", [3], count=1, among=range(12))[3]
        page = next((opened.out / "atlas" / "unit").rglob("3.html")).read_text()
    part = page.partition('id="h-correlated"')[2].partition("</section>")[0]
    assert f"r = {best.correlation:.2f}" in part
    assert "maxact nearest" in part
    assert 'class="cards only-patches"' in part  # nothing is rendered
    assert page.index('id="h-similar"') < page.index('id="h-correlated"')
