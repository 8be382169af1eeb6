"""Learning rates that fall."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RenderError
from viz.ascent.rates import falling_rates
from viz.recipes.catalog import get_recipe


@given(st.floats(1e-3, 1), st.floats(0, 1), st.integers(1, 60))
def test_they_fall_from_the_first_to_its_share(first, share, steps):
    rates = falling_rates(first, share, steps)
    assert len(rates) == steps
    assert rates[0] == pytest.approx(first)
    if steps > 1:
        assert rates[-1] == pytest.approx(first * share, abs=1e-12)
    assert all(one >= two - 1e-12 for one, two in pairwise(rates))


def test_halfway_they_are_in_the_middle():
    assert falling_rates(2.0, 0.0, 3)[1] == pytest.approx(1.0)
    assert falling_rates(0.3, 1.0, 4) == pytest.approx((0.3,) * 4)


@pytest.mark.parametrize("share", ["-0.1", "1.1"])
def test_a_last_rate_is_a_share(share):
    with pytest.raises(RenderError, match="last_rate"):
        get_recipe("typical", {"last_rate": share})
