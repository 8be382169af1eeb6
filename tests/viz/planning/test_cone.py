"""A cone gives a unit what the whole input gives it: the same activation, the same gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.images.preprocess import Preprocess
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.layers.receptive_field import Field
from pipeline.networks.network import Network, load_network
from tests.fixtures.convnets import SIDE, convnet, layer_of
from viz.canvas import Canvas, cut_canvas, cut_interval
from viz.objectives.objective import channel, evaluate, point
from viz.passes.watch import Watch
from viz.planning import cone as cones_module
from viz.planning.chokepoints import chokepoint_maps
from viz.planning.cone import _Map, cone_canvas
from viz.planning.plan import matches_whole_input, plan_canvas

FAMILIES = """
vgg11_bn 64 features.13
resnet18 96 layer3.0
densenet121 96 features.denseblock1.denselayer3
squeezenet1_1 96 features.7
googlenet 96 inception4a
inception_v3 111 Mixed_5b
mobilenet_v2 64 features.6
mnasnet0_5 64 layers.9.0
regnet_x_400mf 96 trunk_output.block2.block2-1
shufflenet_v2_x0_5 64 stage2.1
convnext_tiny 64 features.1.1
efficientnet_lite0 64 blocks.2.1
googlenet_caffe 96 inception_3b
inception_v1 96 mixed3b
"""
"""Network, size of its input, layer: each sees a part of its input, by another kind of padding,
branches or downsampling."""

QUICK = ("resnet18", "efficientnet_lite0")
"""Those that are not marked slow."""


def corners(layer: Layer) -> list[tuple[int, int]]:
    """The centre, a position off it, and three at the border."""
    last_y, last_x = layer.grid_h - 1, layer.grid_w - 1
    middle = (last_y // 2, last_x // 2)
    return [middle, (last_y // 2, max(0, last_x - 2)), (0, 0), (last_y, last_x), (0, last_x // 2)]


def score_and_slope(
    network: Network, layer: Layer, place: tuple[int, int], canvas: Canvas | None, whole: Tensor
) -> tuple[Tensor, Tensor]:
    """(image, unit) activations, and the gradient of their mixture on the whole input."""
    leaf = whole.clone().requires_grad_()
    shown = leaf
    if canvas is not None:
        rows = slice(canvas.top, canvas.top + canvas.height)
        shown = leaf[:, :, rows, canvas.left : canvas.left + canvas.width]
    with Watch(network, [layer], canvas) as watch:
        view = watch(shown)[layer.name]
    units = view.values[:, :, place[0] - view.top, place[1] - view.left]
    mixture = torch.randn(units.shape, generator=torch.Generator().manual_seed(2), dtype=units.dtype)
    (slope,) = torch.autograd.grad((units * mixture).sum(), leaf)
    return units.detach(), slope


def compare(network: Network, layer: Layer, place: tuple[int, int], canvas: Canvas) -> None:
    """In double precision, so that only a wrong cut can make a difference."""
    generator = torch.Generator().manual_seed(1)
    shape = (2, network.input_shape[0], canvas.input_height, canvas.input_width)
    whole = 255 * torch.rand(shape, generator=generator, dtype=torch.float64)
    expected, wanted = score_and_slope(network, layer, place, None, whole)
    found, got = score_and_slope(network, layer, place, canvas, whole)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))
    torch.testing.assert_close(got, wanted, rtol=1e-7, atol=1e-9 * float(wanted.abs().max()))


def _family(line: str) -> object:
    name = line.split()[0]
    return pytest.param(line, id=name, marks=() if name in QUICK else pytest.mark.slow)


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("line", [_family(line) for line in FAMILIES.split("\n")[1:-1]])
def test_a_cone_gives_the_activation_and_the_gradient_of_the_whole_input(line: str) -> None:
    name, size, pattern = line.split()
    network = load_network(name, weights="random", input=(f"size={size}",))
    (layer,) = choose_layers(network, [pattern])
    cones = {place: cone_canvas(network, layer, *place) for place in corners(layer)}
    centre = next(iter(cones.values()))
    assert centre is not None
    assert centre.crops
    assert all(
        matches_whole_input(network, point(layer, 0, *place), cone)
        for place, cone in cones.items()
        if cone is not None
    )
    network.module.double()
    for place, cone in cones.items():
        if cone is not None:
            compare(network, layer, place, cone)


@pytest.mark.parametrize("same_padding", [False, True])
@pytest.mark.parametrize("y", range(0, 12, 2))
def test_every_position_has_a_cone_or_none_that_is_wrong(y: int, same_padding: bool) -> None:
    network = convnet(same_padding=same_padding)
    layer = layer_of(network, "late")
    cones = {(y, x): cone_canvas(network, layer, y, x) for x in range(layer.grid_w)}
    assert any(cones.values())
    network.module.double()
    for place, cone in cones.items():
        if cone is not None:
            assert cone.crops
            window = cut_canvas(layer, *place, SIDE, SIDE)
            assert cone.box_on_input == window.box_on_input
            compare(network, layer, place, cone)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_an_interval_holds_what_is_asked_and_keeps_the_alignment(stride: int) -> None:
    length = 13
    for start in range(-3, length):
        for end in range(max(start, 0) + 1, length + 3):
            offset, size = cut_interval(start, end, stride, length)
            assert 0 <= offset <= max(start, 0)
            assert min(end, length) <= offset + size <= length
            assert offset % stride == 0
            assert (length - size) % stride == 0
            smaller = [
                (first, width)
                for first in range(0, length, stride)
                for width in range(length % stride or stride, size, stride)
                if first <= max(start, 0) and min(end, length) <= first + width <= length
            ]
            assert smaller == []


class Branches(nn.Module):
    """One path around a block, two through it, and a ReLU that runs twice."""

    def __init__(self, *, skip: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.inner = nn.Conv2d(4, 4, 3, padding=1)
        self.pair = nn.Sequential(nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4))
        self.last = nn.Conv2d(4, 6, 3, padding=1)
        self.after = nn.Conv2d(6, 6, 3, padding=1)
        self.skip = skip

    def forward(self, images: Tensor) -> Tensor:
        x = self.relu(self.first(images))
        x = self.pair(x + self.inner(x))
        if self.skip:
            x = x + F.max_pool2d(images[:, :1], 2)
        return self.after(self.relu(self.last(x)))


def wrapped(module: nn.Module, side: int = 24) -> Network:
    return Network.from_module(module, Preprocess(side, side, side, mean=(128.0,) * 3))


def test_only_what_every_path_goes_through_is_on_the_way() -> None:
    network = wrapped(Branches(skip=False))
    found = {"first": (24, 24), "pair.0": (12, 12), "pair.1": (12, 12), "last": (12, 12)}
    assert chokepoint_maps(network, "after") == found
    assert list(chokepoint_maps(network, "pair")) == ["first", "relu", "pair.0"]
    assert list(chokepoint_maps(wrapped(Branches(skip=True)), "after")) == ["last"]
    assert not any(module._forward_hooks for module in network.module.modules())


class Sized(nn.Module):
    """Does something else to a map of another size than it has on the whole input, or than on the
    window of a position."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, values: Tensor) -> Tensor:
        return values if values.shape[-1] in self.sizes else 2 * values


def stack(sized: Sized) -> Network:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 4, 3, padding=1)]
    convolutions += [nn.Conv2d(4, 4, 3, padding=1) for _ in range(4)]
    return wrapped(nn.Sequential(*convolutions[:3], sized, *convolutions[3:]))


def test_what_a_trial_finds_wrong_is_not_used() -> None:
    for sizes, cropped, whole in (((24, 11, 5), True, False), ((24, 11), False, False), ((24,), False, True)):
        network = stack(Sized(*sizes))
        layer = choose_layers(network, ["5"])[0]
        assert cone_canvas(network, layer, 12, 12)
        canvas = plan_canvas(network, point(layer, 0, 12, 12))
        assert (bool(canvas.crops), canvas.is_whole) == (cropped, whole)


def test_only_an_objective_of_one_position_has_a_cone() -> None:
    network = convnet()
    layer = layer_of(network, "late")
    assert plan_canvas(network, point(layer, 0)).crops
    assert plan_canvas(network, point(layer, 0) - 0.5 * point(layer, 1)).crops
    assert not plan_canvas(network, point(layer, 0), whole_layer=True).crops
    assert not plan_canvas(network, channel(layer, 0)).crops
    assert not plan_canvas(network, point(layer, 0) + point(layer, 0, 1, 1)).crops


def test_a_layer_that_sees_everything_has_none() -> None:
    assert cone_canvas(convnet(), layer_of(convnet(), "head"), 0, 0) is None


def test_a_picture_scores_on_the_cone_what_it_scores_on_the_window() -> None:
    network = convnet()
    layer = layer_of(network, "late")
    objective = point(layer, 3)
    cone = plan_canvas(network, objective)
    window = plan_canvas(network, objective, whole_layer=True)
    whole = 255 * torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    scores = []
    for canvas in (cone, window):
        with torch.no_grad(), Watch(network, [layer], canvas) as watch:
            rows = slice(canvas.top, canvas.top + canvas.height)
            shown = whole[:, :, rows, canvas.left : canvas.left + canvas.width]
            scores.append(evaluate([objective] * 2, watch(shown)))
    torch.testing.assert_close(*scores)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 7), st.integers(0, 4), st.integers(-4, 4), st.integers(-9, 30), st.integers(1, 30))
def test_positions_that_are_needed_see_exactly_an_interval(
    size: int, stride: int, start: int, first: int, length: int
) -> None:
    """Against a search over all ranges of positions."""
    field = Field(size, stride, start)
    part = _Map("", (99, 99), (Field(1, 1, 0), field))
    fits = [
        (low, high)
        for low in range(-60, 60)
        for high in range(low + 1, low + 40)
        if stride and start + low * stride == first and start + (high - 1) * stride + size == first + length
    ]
    assert part.needed(1, first, first + length) == (fits[0] if fits else None)
    assert len(fits) <= 1
    assert part.needed(0, first, first + length) == (first, first + length)


def test_strides_must_divide_along_both_axes() -> None:
    def of(*strides: int) -> _Map:
        return _Map("", (9, 9), (Field(3, strides[0], 0), Field(3, strides[1], 0)))

    assert of(2, 3).divides(of(4, 3))
    assert of(2, 3).divides(of(0, 0))
    assert not of(2, 3).divides(of(4, 4))
    assert not of(2, 3).divides(of(3, 3))
    assert not of(0, 1).divides(of(4, 4))
    assert not of(1, 0).divides(of(4, 4))


@pytest.mark.parametrize(
    ("most", "kept"),
    [(0.96, ["stem", "middle", "pool"]), (0.7, ["middle", "pool"]), (0.5, ["pool"]), (0.3, [])],
)
def test_the_largest_shares_are_left_out_one_after_another(
    monkeypatch: pytest.MonkeyPatch, most: float, kept: list[str]
) -> None:
    monkeypatch.setattr(cones_module, "WORTHWHILE", most)
    network = convnet()
    layer = layer_of(network, "late")
    place = (layer.grid_h // 2, layer.grid_w // 2)
    found = cone_canvas(network, layer, *place)
    assert [crop.module for crop in (found.crops if found else ())] == kept
    if found is not None:
        compare(convnet_in_double(), layer, place, found)


def test_one_map_between_the_input_and_the_layer_is_enough() -> None:
    torch.manual_seed(0)
    network = wrapped(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)))
    (layer,) = choose_layers(network, ["1"])
    found = cone_canvas(network, layer, 12, 12)
    assert found is not None
    assert [crop.module for crop in found.crops] == ["0"]
    (first,) = choose_layers(network, ["0"])
    assert cone_canvas(network, first, 12, 12) is None


def test_a_layer_that_sees_everything_along_one_axis_has_none() -> None:
    torch.manual_seed(0)
    network = wrapped(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, (24, 3))))
    (layer,) = choose_layers(network, ["2"])
    assert (layer.stride_y, layer.stride_x) == (0, 1)
    assert cone_canvas(network, layer, 0, 0) is None


def convnet_in_double() -> Network:
    network = convnet()
    network.module.double()
    return network
