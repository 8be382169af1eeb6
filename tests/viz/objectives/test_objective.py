import pytest
import torch

from pipeline.errors import RenderError
from tests.fixtures.convnets import convnet, layer_of
from viz.objectives.objective import View, channel, direction, evaluate, logit, point


@pytest.fixture(scope="module")
def late():
    return layer_of(convnet(), "late")


@pytest.fixture(scope="module")
def head():
    return layer_of(convnet(), "head")


def test_a_batch_is_scored_as_each_image_alone(late, head):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 16, late.grid_h, late.grid_w, generator=generator)
    logits = torch.randn(4, 5, 1, 1, generator=generator)
    weights = torch.randn(16, generator=generator)
    objectives = [
        point(late, 3),
        2 * channel(late, 4) - point(late, 5, 1, 2),
        -logit(head, 2) + direction(late, weights.tolist(), 2, 3),
        direction(late, weights.tolist()) * 0.5,
    ]
    found = evaluate(objectives, {"late": View(maps), "head": View(logits)})
    middle = (late.grid_h - 1) // 2
    expected = [
        maps[0, 3, middle, middle],
        2 * maps[1, 4].mean() - maps[1, 5, 1, 2],
        -logits[2, 2, 0, 0] + maps[2, :, 2, 3] @ weights,
        0.5 * (maps[3].mean((1, 2)) @ weights),
    ]
    assert found.tolist() == pytest.approx([float(value) for value in expected], rel=1e-5)


def test_a_view_of_a_part_of_the_grid_knows_its_place(late):
    maps = torch.randn(1, 16, late.grid_h, late.grid_w)
    objective = [point(late, 3, 5, 6)]
    part = View(maps[:, :, 4:8, 5:9], top=4, left=5)
    assert evaluate(objective, {"late": part}) == evaluate(objective, {"late": View(maps)})


def test_an_objective_says_what_it_is(late):
    text = str(point(late, 3, 1, 2) - 0.5 * channel(late, 4))
    assert text == "point(late, 3, y=1, x=2) + -0.5 * channel(late, 4)"


def test_the_layers_read_come_in_forward_order(late):
    early = layer_of(convnet(), "stem")
    objective = point(late, 0) + point(early, 0)
    assert {layer.name for layer in objective.layers} == {"late", "stem"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda layer: point(layer, 16), r"16 units, numbered 0-15; got 16"),
        (lambda layer: channel(layer, -1), r"got -1"),
        (lambda layer: point(layer, 0, 99, 0), r"grid, numbered from 0; got position y=99"),
        (lambda layer: logit(layer, 0), r"a logit needs a layer without a grid"),
        (lambda layer: direction(layer, [1.0]), r"needs 16 weights, got 1"),
        (lambda layer: direction(layer, [1.0] * 16, y=1), r"needs both y and x"),
    ],
)
def test_what_a_layer_does_not_have_is_refused(late, make, message):
    with pytest.raises(RenderError, match=message):
        make(late)
