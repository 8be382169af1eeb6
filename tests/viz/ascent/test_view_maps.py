import math

import pytest
import torch

from viz.ascent.view_maps import GREY, crop_offsets, draw_affine, reach, sample

STILL = {"jitter": (1, 1), "scale": (1.0, 1.0, 0.1), "rotate": 0, "rotate_zeros": 0}


def generators(count, first=0):
    return [torch.Generator().manual_seed(first + number) for number in range(count)]


def test_without_any_change_the_view_is_the_middle_of_the_canvas():
    pictures = 255 * torch.rand(2, 3, 12, 14)
    maps = draw_affine(generators(2), 1, **STILL)[0]
    seen = sample(pictures, maps, 8, 8)
    assert torch.allclose(seen, pictures[:, :, 2:10, 3:11], atol=1e-3)


def test_a_shift_moves_by_whole_pixels_within_its_width():
    pictures = 255 * torch.rand(1, 1, 30, 30)
    maps = draw_affine(generators(1), 200, **{**STILL, "jitter": (8, 1)})
    shifts = maps[:, 0, :, 2]
    assert set(shifts.flatten().tolist()) == set(range(-4, 4))
    x, y = (int(shift) for shift in shifts[0])
    seen = sample(pictures, maps[0], 10, 10)
    assert torch.allclose(seen, pictures[:, :, 10 + y : 20 + y, 10 + x : 20 + x], atol=1e-3)


def test_scales_and_angles_are_those_listed():
    maps = draw_affine(generators(1), 3000, jitter=(1, 1), scale=(0.9, 1.1, 0.02), rotate=10, rotate_zeros=5)[
        :, 0
    ]
    zoom = 1 / torch.linalg.det(maps[:, :, :2]).sqrt()
    assert sorted({round(float(value), 3) for value in zoom}) == pytest.approx(
        [0.9 + 0.02 * step for step in range(11)], abs=2e-3
    )
    degrees = torch.atan2(maps[:, 1, 0], maps[:, 0, 0]) * 180 / math.pi
    whole = [round(float(value)) for value in degrees]
    assert set(whole) == set(range(-10, 11))
    assert 6 / 26 * 0.8 < whole.count(0) / 3000 < 6 / 26 * 1.2


def test_outside_the_canvas_is_grey():
    seen = sample(torch.zeros(1, 3, 4, 4), draw_affine(generators(1), 1, **STILL)[0], 8, 8)
    assert seen[0, 0, 0, 0] == GREY
    assert seen[0, 0, 4, 4] == 0


def test_nothing_beyond_reach_is_ever_seen():
    options = {"jitter": (8, 4), "scale": (0.9, 1.1, 0.02), "rotate": 10}
    maps = draw_affine(generators(1), 500, rotate_zeros=5, **options)[:, 0]
    corner = torch.tensor([20.0, 20.0, 1.0])
    corners = torch.stack([corner * torch.tensor([sx, sy, 1.0]) for sx in (-1, 1) for sy in (-1, 1)])
    seen = (maps @ corners.T).abs().max()
    assert seen <= reach(20, **options)


def test_an_image_is_drawn_the_same_beside_any_others():
    alone = draw_affine(generators(1, first=3), 5, **{**STILL, "jitter": (8, 4)})
    among = draw_affine(generators(5), 5, **{**STILL, "jitter": (8, 4)})
    assert torch.equal(alone[:, 0], among[:, 3])
    assert torch.equal(
        crop_offsets(generators(1, first=3), 5, 0.3)[:, 0],
        crop_offsets(generators(5), 5, 0.3)[:, 3],
    )


def test_crop_offsets_lie_in_the_slack():
    shares = crop_offsets(generators(2), 1000, 0.3)
    assert shares.min() == 0
    assert shares.max() == 1
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.03)
