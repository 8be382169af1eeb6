from dataclasses import replace

import pytest
import torch

from pipeline.images.preprocess import Box
from pipeline.layers.layer import Layer
from tests.fixtures.convnets import SIDE, convnet, layer_of
from viz.canvas import Canvas, Crop, cut_canvas, place, whole_canvas
from viz.objectives.objective import evaluate, point
from viz.passes.watch import Watch
from viz.planning.plan import matches_whole_input


@pytest.mark.parametrize("same_padding", [False, True])
@pytest.mark.parametrize("name", ["stem", "relu6", "pool", "late"])
@pytest.mark.parametrize("where", ["centre", "corner", "end", "off"])
def test_the_window_gives_what_the_whole_input_gives(name, where, same_padding):
    network = convnet(same_padding=same_padding)
    layer = layer_of(network, name)
    last = layer.grid_h - 1
    y, x = {
        "centre": (last // 2, last // 2),
        "corner": (0, 0),
        "end": (last, last),
        "off": (last // 2, last - 2),
    }[where]
    canvas = cut_canvas(layer, y, x, SIDE, SIDE)
    whole = 255 * torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    window = whole[:, :, canvas.top : canvas.top + canvas.height, canvas.left : canvas.left + canvas.width]
    for unit in range(layer.units):
        objective = point(layer, unit, y, x)
        with torch.no_grad():
            with Watch(network, [layer], None) as watch:
                expected = evaluate([objective] * 2, watch(whole))
            with Watch(network, [layer], canvas) as watch:
                found = evaluate([objective] * 2, watch(window))
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert matches_whole_input(network, point(layer, 0, y, x), canvas)


@pytest.mark.parametrize("name", ["stem", "late"])
def test_the_window_of_the_centre_is_much_smaller_than_the_input(name):
    layer = layer_of(convnet(), name)
    canvas = cut_canvas(layer, layer.grid_h // 2, layer.grid_w // 2, SIDE, SIDE)
    assert layer.rf_h <= canvas.height < layer.rf_h + 2 * layer.stride_y
    assert canvas.top % layer.stride_y == 0
    assert (SIDE - canvas.height) % layer.stride_y == 0


def test_a_pixel_outside_the_box_does_not_matter_and_one_on_its_border_does():
    network = convnet()
    layer = layer_of(network, "late")
    canvas = cut_canvas(layer, 5, 5, SIDE, SIDE)
    picture = torch.rand(1, 3, canvas.height, canvas.width) * 255
    picture.requires_grad_()
    with Watch(network, [layer], canvas) as watch:
        scores = sum(evaluate([point(layer, unit, 5, 5)], watch(picture))[0] for unit in range(16))
    (slope,) = torch.autograd.grad(scores, picture)
    box = canvas.box
    inside = torch.zeros(canvas.height, canvas.width, dtype=torch.bool)
    inside[int(box.top) : int(box.bottom), int(box.left) : int(box.right)] = True
    assert not slope[0, :, ~inside].any()


def test_a_layer_that_sees_everything_gets_the_whole_input():
    layer = layer_of(convnet(), "head")
    assert cut_canvas(layer, 0, 0, SIDE, SIDE).is_whole


def test_a_field_is_whole_only_where_its_box_is_the_input():
    assert whole_canvas(SIDE, SIDE).field_is_whole
    assert not whole_canvas(SIDE, SIDE, Box(0, 0, SIDE, SIDE - 1)).field_is_whole
    assert not whole_canvas(SIDE, SIDE, Box(1, 0, SIDE, SIDE)).field_is_whole
    window = Canvas(SIDE, SIDE, 8, 8, 16, 16, 1, 1, Box(0, 0, 16, 16))
    assert not window.field_is_whole


def test_placing_a_picture_puts_its_window_where_it_was():
    layer = layer_of(convnet(), "late")
    canvas = cut_canvas(layer, 5, 5, SIDE, SIDE).with_margin(3)
    height, width = canvas.size
    pictures = torch.arange(height * width, dtype=torch.uint8).view(1, 1, height, width)
    placed = place(pictures, canvas, torch.tensor([7.0]))
    assert placed.shape == (1, 1, SIDE, SIDE)
    assert placed[0, 0, canvas.top, canvas.left] == pictures[0, 0, 3, 3]
    assert placed[0, 0, 0, 0] == 7
    seen = layer.box(5, 5)
    box = canvas.box_in(height, width)
    assert placed[0, 0, int(seen.top), int(seen.left)] == pictures[0, 0, int(box.top), int(box.left)]


def test_a_larger_picture_is_cut_at_its_centre():
    canvas = whole_canvas(4, 4)
    pictures = torch.arange(36.0).view(1, 1, 6, 6)
    assert torch.equal(place(pictures, canvas, torch.zeros(1)), pictures[:, :, 1:5, 1:5])
    assert canvas.box_in(6, 6) == Box(1, 1, 5, 5)


def test_a_network_that_takes_one_size_only_is_noticed():
    network = convnet()
    layer = layer_of(network, "late")
    network.module.register_forward_pre_hook(_refuse_other_sizes)
    assert not matches_whole_input(network, point(layer, 0, 5, 5), cut_canvas(layer, 5, 5, SIDE, SIDE))


def _refuse_other_sizes(module, inputs):
    if inputs[0].shape[-1] != SIDE:
        raise ValueError("one size only")


LAYER = Layer("conv", 0, "map", 4, 8, 8, 0, 11, 7, 4, 4, -3, -1)
"""Of an input with 32 rows and columns."""


def test_the_window_of_a_position_in_the_middle() -> None:
    canvas = cut_canvas(LAYER, 4, 3, 32, 32)
    assert LAYER.box(4, 3) == Box(11, 13, 18, 24)
    assert (canvas.top, canvas.height, canvas.left, canvas.width) == (12, 12, 8, 12)
    assert (canvas.grid_top, canvas.grid_left) == (3, 2)
    assert canvas.box == Box(3, 1, 10, 12)
    assert canvas.box_on_input == LAYER.box(4, 3)
    assert (canvas.is_whole, canvas.field_is_whole, canvas.size) == (False, False, (12, 12))


def test_a_window_at_the_border_ends_there() -> None:
    first, last = cut_canvas(LAYER, 0, 0, 32, 32), cut_canvas(LAYER, 7, 7, 32, 32)
    assert (first.top, first.height, first.left, first.width) == (0, 8, 0, 8)
    assert first.box_on_input == Box(0, 0, 6, 8)
    assert (last.top, last.height, last.left, last.width) == (24, 8, 24, 8)
    assert last.box_on_input == Box(27, 25, 32, 32)


def test_what_sees_the_whole_input_has_it_as_window() -> None:
    whole = cut_canvas(replace(LAYER, stride_y=0, rf_h=32, start_y=0), 0, 3, 32, 32)
    assert (whole.is_whole, whole.field_is_whole) == (True, False)
    assert whole.box == Box(11, 0, 18, 32)
    assert whole_canvas(32, 40).field_is_whole
    assert whole_canvas(32, 40).box == Box(0, 0, 40, 32)
    for box in (Box(1, 0, 40, 32), Box(0, 1, 40, 32), Box(0, 0, 39, 32), Box(0, 0, 40, 31)):
        assert not whole_canvas(32, 40, box).field_is_whole


@pytest.mark.parametrize(("asked", "margin"), [(-2, 0), (0, 0), (3, 3), (9, 9), (10, 10), (11, 10), (99, 10)])
def test_a_canvas_is_not_larger_than_the_input(asked: int, margin: int) -> None:
    canvas = cut_canvas(LAYER, 4, 3, 32, 32).with_margin(asked)
    assert (canvas.margin, canvas.size) == (margin, (12 + 2 * margin, 12 + 2 * margin))


def test_the_window_is_in_the_middle_of_a_picture() -> None:
    canvas = cut_canvas(LAYER, 4, 3, 32, 32)
    assert canvas.window_in(20, 31) == (4, 9)
    assert canvas.window_in(12, 10) == (0, -1)
    assert canvas.box_in(20, 31) == Box(12, 5, 19, 16)


def test_a_crop_has_the_gradient_of_a_slice() -> None:
    output = torch.arange(48.0).view(1, 2, 4, 6).requires_grad_()
    part = Crop("conv", 1, 2, 2, 3)(output)
    assert torch.equal(part, output[:, :, 1:3, 2:5])
    assert part.is_contiguous(memory_format=torch.channels_last)
    part.square().sum().backward()
    expected = torch.zeros_like(output)
    expected[:, :, 1:3, 2:5] = 2 * output[:, :, 1:3, 2:5].detach()
    assert output.grad is not None
    assert torch.equal(output.grad, expected)
