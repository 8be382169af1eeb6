"""Feature accentuation: pictures from their spectra, crops inside the picture, a distance by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RenderError
from tests.fixtures.convnets import convnet, layer_of
from viz.ascent.balanced_distance import BalancedDistance
from viz.ascent.parametrisation import Polar
from viz.ascent.spectrum import picture_to_polar, polar_to_picture
from viz.ascent.view_maps import draw_boxes
from viz.canvas import whole_canvas
from viz.objectives.objective import evaluate, point
from viz.passes.scorer import Scorer
from viz.passes.watch import Watch
from viz.recipes.catalog import get_recipe


def generators(count, seed=0):
    return [torch.Generator().manual_seed(seed + image) for image in range(count)]


def pictures(count, size=48, seed=0, channels=3):
    return 255 * torch.rand((count, channels, size, size), generator=torch.Generator().manual_seed(seed))


@given(
    height=st.integers(2, 17),
    width=st.integers(2, 17),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_a_picture_comes_back_from_its_magnitudes_and_phases(height, width, channels, seed):
    shape = (2, channels, height, width)
    shown = 5 + 245 * torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    back = polar_to_picture(*picture_to_polar(shown), height, width)
    assert torch.allclose(back, shown, atol=0.05)


def test_magnitudes_are_those_of_numpy():
    shown = pictures(1, size=7, channels=1)
    planes = torch.logit(shown / 255, eps=1 / 255)[0, 0].double().numpy()
    magnitudes, phases = (each[0, 0].numpy() for each in picture_to_polar(shown))
    wanted = np.fft.rfft2(planes, norm="ortho")
    assert np.allclose(magnitudes, np.abs(wanted), atol=1e-4)
    assert np.allclose(magnitudes * np.exp(1j * phases), wanted, atol=1e-4)


def test_half_of_every_magnitude_halves_the_logits():
    shown = pictures(1, size=8, channels=1)
    magnitudes, phases = picture_to_polar(shown)
    values = torch.stack([phases, torch.zeros_like(phases)], dim=-1)
    halved = Polar((8, 8), magnitudes).pictures(values)
    assert torch.allclose(torch.logit(halved / 255), torch.logit(shown / 255, eps=1 / 255) / 2, atol=1e-4)


@given(
    low=st.floats(0.05, 0.9), spread=st.floats(0, 0.1), height=st.integers(9, 40), width=st.integers(9, 40)
)
def test_crops_lie_inside_the_picture_and_have_the_sides_asked_for(low, spread, height, width):
    window = (11, 13)
    maps = draw_boxes(generators(2), 3, 4, size=(low, low + spread), picture=(height, width), window=window)
    assert maps.shape == (3, 2, 4, 2, 3)
    half = torch.tensor([window[1], window[0]]) / 2
    sides = torch.tensor([width, height]).float()
    zoom = torch.diagonal(maps[..., :2], dim1=-2, dim2=-1)
    shares = zoom * 2 * half / sides
    assert torch.allclose(shares[..., 0], shares[..., 1], atol=1e-5)
    assert shares.min() >= low - 1e-5
    assert shares.max() <= low + spread + 1e-5
    furthest = maps[..., 2].abs() + zoom * half
    assert (furthest <= sides / 2 + 1e-3).all()


def test_crops_of_an_image_do_not_depend_on_the_others():
    drawn = {
        count: draw_boxes(generators(count), 2, 3, size=(0.1, 0.9), picture=(20, 20), window=(20, 20))
        for count in (1, 3)
    }
    assert torch.equal(drawn[1][:, 0], drawn[3][:, 0])


def scored(network, shown, starts, *, copies=2, weight=1.0, state=None, numbers=None):
    """Scores and gradients of pictures with a distance to their starts, each seen `copies` times alike."""
    middle, late = (layer_of(network, name) for name in ("middle", "late"))
    numbers = list(range(len(shown))) if numbers is None else numbers
    objectives = [point(late, 1)] * len(shown)
    term = BalancedDistance(middle, weight, starts, copies)
    if state is not None:
        term.restore(state)

    def view(each):
        return each.repeat_interleave(copies, dim=0)

    with Watch(network, [middle, late], whole_canvas(48, 48)) as watch:
        scorer = Scorer(watch, extra=term)
        term.before_step(scorer, view, objectives, numbers)
        repeated = [number for number in numbers for _ in range(copies)]
        return term, *scorer.gradient(view(shown), [objectives[0]] * len(repeated), 0, repeated)


@pytest.fixture(scope="module")
def network():
    return convnet()


def plain(network, shown):
    """Scores, gradients and features of pictures without a term."""
    middle, late = (layer_of(network, name) for name in ("middle", "late"))
    leaf = shown.clone().requires_grad_()
    with Watch(network, [middle, late], whole_canvas(48, 48)) as watch:
        views = watch(leaf, [middle.name, late.name])
        features = views[middle.name].values
        scores = evaluate([point(late, 1)] * len(leaf), views)
    return leaf, scores, features


def test_score_and_distance_pull_equally_hard_at_weight_one(network):
    shown, starts = pictures(2, seed=1), pictures(2, seed=2)
    _, scores, slopes = scored(network, shown, starts)
    leaf, without, features = plain(network, shown)
    wanted = plain(network, starts)[2].detach()
    far = (features - wanted).flatten(1).norm(dim=1)
    up, away = (torch.autograd.grad(each.sum(), leaf, retain_graph=True)[0] for each in (without, far))
    balance = up.abs().flatten(1).sum(1) / away.abs().flatten(1).sum(1)
    by_hand = (without - balance * far).detach()
    assert torch.allclose(scores.view(2, 2), by_hand[:, None].expand(2, 2), rtol=1e-3)
    slope = up - balance.view(-1, 1, 1, 1) * away
    assert torch.allclose(slopes.view(2, 2, *slope.shape[1:])[:, 0], slope, rtol=1e-2, atol=1e-6)


def test_a_picture_at_its_start_has_its_own_score_and_no_balance(network):
    starts = pictures(2)
    term, scores, slopes = scored(network, starts, starts)
    assert term.state() == {"balance": {}}
    assert torch.isfinite(slopes).all()
    assert torch.allclose(scores.view(2, 2)[:, 0], plain(network, starts)[1].detach(), rtol=1e-4)


def test_the_balance_of_the_first_step_is_kept_and_restored(network):
    starts = pictures(3, seed=2)
    first, *_ = scored(network, pictures(3, seed=1), starts)
    again, after, _ = scored(network, pictures(3, seed=3), starts, state=first.state())
    assert again.state() == first.state()
    _, other, _ = scored(network, pictures(3, seed=3), starts)
    assert not torch.allclose(after, other)


def test_images_keep_their_starts_when_only_some_are_shown(network):
    shown, starts = pictures(3, seed=1), pictures(3, seed=2)
    _, all_scores, _ = scored(network, shown, starts)
    _, some, _ = scored(network, shown[[2, 0]], starts, numbers=[2, 0])
    assert torch.allclose(some.view(2, 2), all_scores.view(3, 2)[[2, 0]], rtol=1e-4)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("crops", "0"),
        ("crop_size", "0.5:0.2"),
        ("crop_size", "0:0.5"),
        ("crop_size", "0.5:1.5"),
        ("near", "-1"),
    ],
)
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(RenderError, match=f"recipe faccent: {option} must be"):
        get_recipe("faccent", {option: value})
