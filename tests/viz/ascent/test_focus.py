"""Focus: weights of positions against sums by hand, and statistics that they move."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.fixtures.convnets import convnet, layer_of
from viz.ascent.close_up import box_of
from viz.ascent.focus import Focus, find_focus
from viz.ascent.moments import Moments
from viz.ascent.relevance import contribution_maps
from viz.ascent.sorted_features import SortedFeatures
from viz.canvas import Canvas, whole_canvas
from viz.objectives.objective import point

SIDE = 12


@pytest.fixture(scope="module")
def network():
    return convnet()


def canvas() -> Canvas:
    return whole_canvas(SIDE, SIDE)


def maps(seed: int = 0, count: int = 3) -> Tensor:
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("side", [3, 4, 12, 24])
def test_every_patch_has_weights_of_sum_one(share: float, side: int) -> None:
    weight = torch.rand(side, side, generator=torch.Generator().manual_seed(1))
    for found in (
        Focus(maps(), share, canvas()).window(weight),
        Focus(maps(), share, canvas()).close_up(weight),
    ):
        assert found.shape == (3, 1, side, side)
        assert torch.allclose(found.sum((2, 3)), torch.ones(3, 1))
        assert (found >= 0).all()


def test_without_a_share_all_patches_have_the_weight_that_is_given() -> None:
    weight = torch.rand(4, 4, generator=torch.Generator().manual_seed(1))
    found = Focus(maps(), 0.0, canvas()).window(weight)
    assert torch.allclose(found, (weight / weight.sum()).expand_as(found))


def test_weights_go_by_the_mean_of_the_map_below_a_position() -> None:
    weight = torch.rand(4, 4, generator=torch.Generator().manual_seed(1))
    found = Focus(maps(), 0.25, canvas()).window(weight)
    for number, each in enumerate(maps()[:, 0]):
        means = each.unfold(0, 3, 3).unfold(1, 3, 3).mean((2, 3))
        by_hand = 0.75 * weight / weight.sum() + 0.25 * weight * means / (weight * means).sum()
        assert torch.allclose(found[number, 0], by_hand, atol=1e-6)


def test_a_patch_in_which_nothing_contributes_counts_all_positions_alike() -> None:
    given = maps()
    given[1] = 0
    found = Focus(given, 1.0, canvas()).window(torch.ones(4, 4))
    assert torch.equal(found[1], torch.full((1, 4, 4), 1 / 16))
    assert found.isfinite().all()


def test_a_network_that_sees_a_corner_is_focused_there(network) -> None:
    layer, before = layer_of(network, "late"), layer_of(network, "middle")
    whole = whole_canvas(*network.input_shape[1:])
    shape = (2, *network.input_shape)
    pictures = 255 * torch.rand(shape, generator=torch.Generator().manual_seed(1))
    objective = point(layer, 2, 0, 0)
    focus = find_focus(network, whole, [before, layer], pictures, objective, 1.0)
    assert focus is not None
    expected = contribution_maps(network, whole, [before], pictures, objective)["middle"]
    drives = expected.sum(1).clamp(min=0)
    found = focus.window(torch.ones(drives.shape[1:]))[:, 0]
    half = drives.shape[1] // 2
    assert drives[:, half:, half:].sum() == 0
    assert found[:, :half, :half].sum((1, 2)).min() > 0.8


def test_there_is_no_focus_in_the_first_layer(network) -> None:
    layer = layer_of(network, "stem")
    whole = whole_canvas(*network.input_shape[1:])
    pictures = torch.zeros(2, *network.input_shape)
    assert find_focus(network, whole, [layer], pictures, point(layer, 2), 1.0) is None


@pytest.mark.parametrize("kind", [Moments, SortedFeatures])
def test_weights_of_each_image_give_what_each_image_alone_gives(kind: type) -> None:
    values = torch.randn(3, 5, 4, 4, generator=torch.Generator().manual_seed(2))
    weight = Focus(maps(), 1.0, canvas()).window(torch.ones(4, 4))
    together = kind.of(values, weight)
    alone = [kind.of(values[[n]], weight[n, 0]) for n in range(3)]
    for field in kind.__dataclass_fields__:
        found = getattr(together, field)
        assert torch.allclose(found, torch.cat([getattr(each, field) for each in alone]), atol=1e-6)


def test_the_box_is_what_a_close_up_shows() -> None:
    pictures = maps()
    assert torch.equal(box_of(pictures, canvas()), pictures)
