"""The scale of paths, against its definition, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from viz.paths.likeness import UNUSUAL, is_unusual, make_reference


def patches(count: int, noise: float, seed: int, common: int = 0) -> list[Tensor]:
    """Contributions in two layers: what is common to a unit's patches, and noise."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for layer, units in enumerate((20, 30)):
        drawn = torch.Generator().manual_seed(100 * common + layer)
        shape = torch.randn(units, generator=drawn, dtype=torch.float64)
        own = noise * torch.randn(count, units, generator=generator, dtype=torch.float64)
        found.append(own + (shape if common else 0))
    return found


def by_definition(own: list[Tensor], others: list[Tensor], pictures: list[Tensor]) -> np.ndarray:
    """The path on one scale: correlations with each patch, averaged over patches and layers."""

    def likeness(found: list[Tensor], place: int, among: list[int]) -> float:
        pairs = [(layer, patch) for layer in range(len(own)) for patch in among]
        return float(np.mean([np.corrcoef(found[at][place], own[at][patch])[0, 1] for at, patch in pairs]))

    everything = list(range(len(own[0])))
    one = np.mean([likeness(own, i, [j for j in everything if j != i]) for i in everything])
    zero = np.mean([likeness(others, i, everything) for i in range(len(others[0]))])
    found = np.array([likeness(pictures, i, everything) for i in range(len(pictures[0]))])
    return (found - zero) / (one - zero)


def test_the_scale_is_that_of_its_definition() -> None:
    own, others, pictures = patches(5, 1.4, 1, common=1), patches(4, 1.0, 2), patches(3, 1.4, 3, common=1)
    reference = make_reference(own, others)
    assert reference is not None
    assert [scale.layers for scale in reference.scales] == [(0, 1)]
    assert reference.path(pictures) == pytest.approx(by_definition(own, others, pictures), abs=1e-9)
    assert np.mean(reference.left_out) == pytest.approx(1)


def test_the_least_of_all_layers_and_of_those_that_tell_by_themselves_counts() -> None:
    own, others = patches(9, 0.2, 1, common=1), patches(7, 1.0, 2)
    usual, other = patches(2, 0.2, 3, common=1), patches(2, 0.2, 3, common=2)
    reference = make_reference(own, others)
    assert reference is not None
    assert [scale.layers for scale in reference.scales] == [(0, 1), (0,), (1,)]
    pictures = [usual[0], other[1]]
    alone = [by_definition(own[at : at + 1], others[at : at + 1], pictures[at : at + 1]) for at in (0, 1)]
    least = np.minimum(np.minimum(*alone), by_definition(own, others, pictures))
    assert reference.path(pictures) == pytest.approx(least, abs=1e-9)
    assert all(is_unusual(path) for path in reference.path(pictures))
    assert min(by_definition(own, others, pictures)) > UNUSUAL


def test_patches_without_anything_in_common_give_no_scale() -> None:
    assert make_reference(patches(9, 1.0, 1), patches(9, 1.0, 2)) is None


def test_a_picture_without_contributions_is_unlike() -> None:
    reference = make_reference(patches(9, 0.2, 1, common=1), patches(9, 1.0, 2))
    assert reference is not None
    (path,) = reference.path([torch.zeros(1, 20).double(), torch.zeros(1, 30).double()])
    assert abs(path) < 0.2
    assert is_unusual(UNUSUAL - 0.01)
    assert not is_unusual(UNUSUAL)
    assert not is_unusual(None)
