"""The part of contributions that is as in the patches, against its definition, and where it says nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
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


def by_definition(own: list[Tensor], pictures: list[Tensor]) -> list[float]:
    """Unit by unit, the magnitude of the share that is between 0 and what some patch has; the least layer."""

    def shares(row: Tensor) -> list[float]:
        total = sum(abs(float(value)) for value in row)
        return [float(value) / total if total else 0.0 for value in row]

    found = []
    for image in range(len(pictures[0])):
        layers = []
        for patch_rows, picture_rows in zip(own, pictures, strict=True):
            seen = [shares(row) for row in patch_rows]
            common = 0.0
            for unit, share in enumerate(shares(picture_rows[image])):
                same_sign = [abs(each[unit]) for each in seen if each[unit] * share > 0]
                common += min(abs(share), max(same_sign, default=0.0))
            layers.append(common)
        found.append(min(layers))
    return found


def test_the_path_is_that_of_its_definition() -> None:
    own, pictures = patches(5, 0.4, 1, common=1), patches(3, 0.4, 3, common=1)
    reference = make_reference(own)
    assert reference is not None
    assert reference.path(pictures) == pytest.approx(by_definition(own, pictures), abs=1e-12)
    for place, path in enumerate(reference.left_out):
        others = [torch.cat([each[:place], each[place + 1 :]]) for each in own]
        (wanted,) = by_definition(others, [each[place : place + 1] for each in own])
        assert path == pytest.approx(wanted, abs=1e-12)


@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_a_path_is_a_part_and_a_patch_is_wholly_usual_at_any_strength(seed: int, strength: float) -> None:
    own = patches(4, 0.3, seed, common=1)
    reference = make_reference(own)
    assert reference is not None
    assert all(0 <= path <= 1 + 1e-9 for path in reference.path(patches(5, 1.0, seed + 1)))
    assert reference.path([strength * each for each in own]) == pytest.approx([1.0] * 4)


def test_another_path_at_one_layer_is_unusual() -> None:
    own = patches(9, 0.2, 1, common=1)
    usual = patches(2, 0.2, 3, common=1)
    reference = make_reference(own)
    assert reference is not None
    assert not any(map(is_unusual, reference.path(usual)))
    silent = torch.zeros(2, 10, dtype=torch.float64)
    wide = [torch.cat([each, torch.zeros(len(each), 10, dtype=torch.float64)], 1) for each in own]
    reference = make_reference(wide)
    assert reference is not None
    by_others = torch.cat([torch.zeros_like(usual[1]), silent + 1], 1)
    paths = reference.path([torch.cat([usual[0], silent], 1), by_others])
    assert paths == pytest.approx([0.0, 0.0])


def test_the_other_sign_is_another_path() -> None:
    own = [each.abs() for each in patches(9, 0.1, 1, common=1)]
    reference = make_reference(own)
    assert reference is not None
    assert reference.path([-each for each in own]) == pytest.approx([0.0] * 9)


def test_patches_by_units_of_their_own_have_nothing_in_common() -> None:
    own = [torch.eye(9, dtype=torch.float64), torch.eye(9, dtype=torch.float64)]
    assert make_reference(own) is None
    one_apart = torch.cat([torch.eye(9, dtype=torch.float64)[:1].repeat(8, 1), own[0][1:2]])
    reference = make_reference([one_apart])
    assert reference is not None
    assert np.sum([is_unusual(path) for path in reference.left_out]) == 1


def test_a_picture_without_contributions_is_unlike() -> None:
    reference = make_reference(patches(9, 0.2, 1, common=1))
    assert reference is not None
    assert reference.path([torch.zeros(1, 20).double(), torch.zeros(1, 30).double()]) == [0.0]
    assert is_unusual(UNUSUAL - 0.01)
    assert not is_unusual(UNUSUAL)
    assert not is_unusual(None)
