"""The parts of the training of a robust copy: crops, perturbations, the distance of features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RenderError
from viz.objectives.objective import View
from viz.robust.crops import LEAST_SHARE, random_crops
from viz.robust.feature_distance import feature_distance, feature_variances
from viz.robust.options import RobustOptions
from viz.robust.perturbation import perturb


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramps(images: int, height: int, width: int) -> torch.Tensor:
    """Pictures whose channels are the row, the column, and the number of the image."""
    rows = torch.arange(height).float()[:, None].expand(height, width)
    columns = torch.arange(width).float()[None].expand(height, width)
    return torch.stack([torch.stack([rows, columns, torch.full_like(rows, i)]) for i in range(images)])


def test_a_crop_is_a_square_of_its_picture_enlarged() -> None:
    crops = random_crops(ramps(40, 100, 140), (50, 50), seeded())
    assert crops.shape == (40, 3, 50, 50)
    assert torch.equal(crops[:, 2].round(), torch.arange(40.0)[:, None, None].expand(40, 50, 50))
    across = crops[:, 1, 25, -2] - crops[:, 1, 25, 1]
    down = crops[:, 0, -2, 25] - crops[:, 0, 1, 25]
    assert (down > 0).all(), "no crop is upside down"
    assert 8 <= int((across < 0).sum()) <= 32, "about half are mirrored"
    assert torch.allclose(across.abs(), down, atol=1.5), "both sides have the same length"
    sides = down * 50 / 47
    assert float(sides.min()) >= 0.9 * LEAST_SHARE * 100
    assert float(sides.max()) <= 101
    assert 0.25 < float((sides < 100 * LEAST_SHARE**0.5).float().mean()) < 0.75, "uniform in the logarithm"


def test_crops_lie_within_pictures_and_on_0_to_255() -> None:
    pictures = 255 * (torch.rand(16, 3, 40, 64, generator=seeded(1)) > 0.5).float()
    crops = random_crops(pictures.to(torch.uint8), (32, 32), seeded(2))
    assert float(crops.min()) >= 0
    assert float(crops.max()) <= 255
    again = random_crops(pictures.to(torch.uint8), (32, 32), seeded(2))
    assert torch.equal(crops, again)


@given(st.floats(0.1, 10), st.integers(1, 4), st.integers(0, 100))
def test_a_perturbation_is_as_long_as_allowed_and_along_the_slope(
    noise: float, steps: int, seed: int
) -> None:
    """Of a linear function the best change is known: along its slope."""
    pictures = torch.zeros(2, 3, 5, 4)
    slope = torch.randn(2, 3, 5, 4, generator=seeded(seed))
    found = perturb(lambda seen: (slope * seen).sum((1, 2, 3)), pictures, noise, seeded(seed + 1), steps)
    change = found - pictures
    sizes = change.square().mean((1, 2, 3)).sqrt()
    assert (sizes <= noise * 1.0001).all()
    cosine = torch.nn.functional.cosine_similarity(change.flatten(1), slope.flatten(1))
    assert (cosine > 0.75).all()
    random = torch.randn(2, 3, 5, 4, generator=seeded(seed + 2))
    random = random / random.square().mean((1, 2, 3), keepdim=True).sqrt() * noise
    assert ((slope * change).sum((1, 2, 3)) > (slope * random).sum((1, 2, 3))).all()


def test_a_perturbation_without_a_slope_is_the_random_start() -> None:
    pictures = torch.ones(1, 1, 4, 4)
    found = perturb(lambda seen: 0 * seen.sum((1, 2, 3)), pictures, 2.0, seeded())
    assert (found - pictures).square().mean().sqrt() == pytest.approx(1.0, rel=1e-5)


def test_the_distance_is_relative_to_the_variance_of_each_unit() -> None:
    rng = np.random.default_rng(0)
    scale = np.array([1.0, 3.0, 0.5])[None, :, None, None]
    photographs = scale * rng.standard_normal((20, 3, 4, 4))
    other = scale * rng.standard_normal((5, 3, 4, 4))
    wanted = scale * rng.standard_normal((5, 3, 4, 4))
    flat = rng.standard_normal((20, 2, 1, 1)), rng.standard_normal((5, 2, 1, 1)), np.zeros((5, 2, 1, 1))
    variances = feature_variances({"a": view(photographs), "b": view(flat[0])})
    found = feature_distance(
        {"a": view(other), "b": view(flat[1])}, {"a": tensor(wanted), "b": tensor(flat[2])}, variances
    )
    parts = [
        ((one - two) ** 2 / all_.var(axis=(0, 2, 3))[None, :, None, None]).mean(axis=(1, 2, 3))
        for one, two, all_ in ((other, wanted, photographs), (flat[1], flat[2], flat[0]))
    ]
    assert np.allclose(found.numpy(), (parts[0] + parts[1]) / 2, rtol=1e-4)


def test_a_unit_that_never_varies_does_not_decide_the_distance() -> None:
    values = torch.randn(20, 4, 3, 3, generator=seeded())
    values[:, 2] = 0
    variances = feature_variances({"a": View(values)})
    moved = values[:2].clone()
    moved[:, 2] += 1e-3
    assert float(feature_distance({"a": View(moved)}, {"a": values[:2]}, variances).max()) < 1e-2


def view(values: np.ndarray) -> View:
    return View(tensor(values))


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).float()


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"batch": 1}, {"size": 16}, {"noise": 0.0}, {"noise": 300.0}, {"rate": float("nan")}],
)
def test_invalid_options_are_rejected(wrong: dict[str, float]) -> None:
    with pytest.raises(RenderError, match=next(iter(wrong))):
        RobustOptions(**wrong)  # type: ignore[arg-type]
