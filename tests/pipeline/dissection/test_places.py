"""Maps at places of the input: weights of interpolation against their definition."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.dissection.places import _weights


@pytest.mark.parametrize("centres", [[7.0], [2.0, 6.0], [1.0, 4.0, 5.0, 9.0]])
def test_weights_are_linear_between_centres_and_constant_beyond(centres: list[float]) -> None:
    places = np.array([-3.0, 0.0, 1.5, 2.0, 4.4, 7.0, 8.9, 20.0])
    found = _weights(places, np.array(centres))
    values = np.random.default_rng(0).normal(size=len(centres))
    np.testing.assert_allclose(found @ values, np.interp(places, centres, values), rtol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    assert found.dtype == np.float32
