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


def test_the_scale_is_that_of_its_definition() -> None:
    own, others, pictures = patches(5, 0.3, 1, common=1), patches(4, 1.0, 2), patches(3, 0.3, 3, common=1)
    reference = make_reference(own, others)
    assert reference is not None

    def likeness(found: list[np.ndarray], to: list[list[np.ndarray]]) -> float:
        each = [np.corrcoef(a, b)[0, 1] for a, patches in zip(found, to, strict=True) for b in patches]
        return float(np.mean(each))

    rows = [layer.numpy() for layer in own]
    left_out = [
        likeness([layer[i] for layer in rows], [[*np.delete(layer, i, 0)] for layer in rows])
        for i in range(5)
    ]
    everything = [[*layer] for layer in rows]
    zero = np.mean([likeness([layer[i].numpy() for layer in others], everything) for i in range(4)])
    one = np.mean(left_out)
    wanted = [
        (likeness([layer[i].numpy() for layer in pictures], everything) - zero) / (one - zero)
        for i in range(3)
    ]
    assert reference.path(pictures) == pytest.approx(wanted, abs=1e-9)
    assert np.mean(reference.left_out) == pytest.approx(1)


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
