"""Sorted features: quantiles of weighted values, and distances between distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from viz.ascent.sorted_features import SortedFeatures, quantiles


def _values(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_equal_weights_give_the_sorted_values_themselves() -> None:
    values = _values(0, 2, 3, 4, 8)
    assert torch.equal(quantiles(values, torch.ones(4, 8)), values.flatten(2).sort(2).values)


@pytest.mark.parametrize("seed", range(4))
def test_weights_count_like_repeated_values(seed: int) -> None:
    values = _values(seed, 1, 2, 2, 4)
    counts = torch.tensor([[1, 5, 0, 2], [9, 3, 8, 4]])
    repeated = values.flatten(2).repeat_interleave(counts.flatten(), 2).sort(2).values
    assert torch.equal(quantiles(values, counts.float(), 32), repeated)


def test_the_distance_is_wassersteins() -> None:
    one, other = _values(1, 1, 1, 4, 8), 3 + _values(2, 1, 1, 4, 8)
    found, wanted = (quantiles(each, torch.ones(4, 8)) for each in (one, other))
    assert (wanted - found).abs().mean().item() == pytest.approx(
        wasserstein_distance(one.flatten().numpy(), other.flatten().numpy()), rel=1e-5
    )
    spread, alike = SortedFeatures(torch.ones(1, 32)), torch.ones(1)
    squared = SortedFeatures(found).distance(SortedFeatures(wanted[0]), spread, alike)
    expected = np.mean((np.sort(one.flatten()) - np.sort(other.flatten())) ** 2)
    assert squared.item() == pytest.approx(expected, rel=1e-5)


def test_places_do_not_matter_and_images_are_independent() -> None:
    values = _values(3, 3, 2, 4, 4)
    weight = torch.ones(4, 4)
    moved = values.flip(2, 3)
    assert torch.equal(quantiles(values, weight), quantiles(moved, weight))
    assert torch.equal(quantiles(values, weight)[1:2], quantiles(values[1:2], weight))


def test_the_mean_of_sorted_values_is_exaggerated_and_stays_sorted() -> None:
    own, usual = (SortedFeatures(_values(seed, 4, 2, 8).sort(2).values) for seed in (5, 6))
    usual = usual.average()
    assert torch.allclose(own.beyond(usual, 1).values, own.values.mean(0))
    assert torch.allclose(own.beyond(usual, 0).values, usual.values)
    far = own.beyond(usual, 5).values
    assert torch.equal(far, far.sort(1).values)
