import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import RenderError
from viz.choices import RULES
from viz.passes.relu import LEAKY_SLOPE, relu_rule

VALUES = torch.tensor([[-3.0, -1.0, 0.5, 2.0, 5.0, 8.0], [-3.0, -1.0, -0.5, -2.0, -5.0, 9.0]])
SLOPE = torch.tensor([[1.0, -1.0, 2.0, -2.0, 3.0, 4.0], [1.0, -1.0, 2.0, -2.0, 3.0, -4.0]])

WAYS = {
    "F.relu": (F.relu, float("inf")),
    "F.relu in place": (lambda x: F.relu(x, inplace=True), float("inf")),
    "F.relu_": (F.relu_, float("inf")),
    "torch.relu": (torch.relu, float("inf")),
    "torch.relu_": (torch.relu_, float("inf")),
    "Tensor.relu": (lambda x: x.relu(), float("inf")),
    "nn.ReLU": (nn.ReLU(), float("inf")),
    "nn.ReLU in place": (nn.ReLU(inplace=True), float("inf")),
    "F.relu6": (F.relu6, 6.0),
    "nn.ReLU6": (nn.ReLU6(), 6.0),
    "nn.ReLU6 in place": (nn.ReLU6(inplace=True), 6.0),
    "F.hardtanh": (lambda x: F.hardtanh(x, 0.0, 6.0), 6.0),
    "nn.Hardtanh": (nn.Hardtanh(0.0, 6.0), 6.0),
}


def by_definition(rule: str, row: Tensor, slope: Tensor, high: float) -> tuple[list, list]:
    """Forward and backward of one image, element by element."""
    flat = [not 0 <= value <= high for value in row.tolist()]
    forward = [min(max(value, 0.0), high) for value in row.tolist()]
    pairs = list(zip(row.tolist(), slope.tolist(), flat, strict=True))
    plain = [0.0 if outside else gradient for _, gradient, outside in pairs]
    if rule == "leaky":
        forward = [
            bound + LEAKY_SLOPE * (value - bound) for bound, value in zip(forward, row.tolist(), strict=True)
        ]
        return forward, [g * (LEAKY_SLOPE if outside else 1) for _, g, outside in pairs]
    if rule == "deconvnet":
        return forward, [max(g, 0.0) for _, g, _ in pairs]
    if rule == "guided":
        return forward, [0.0 if outside else max(g, 0.0) for _, g, outside in pairs]
    if rule == "redirected" and not any(plain):
        outward = [(v < 0 and g < 0) or (v > high and g > 0) for v, g, _ in pairs]
        return forward, [0.0 if out else g for out, (_, g, _) in zip(outward, pairs, strict=True)]
    return forward, plain


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dead", [False, True])
def test_each_rule_follows_its_definition_for_every_way_to_write_a_relu(rule, way, dead):
    function, high = WAYS[way]
    values = VALUES.clone()
    if dead:
        values[1, -1] = -9.0
    leaf = values.clone().requires_grad_()
    with relu_rule(rule):
        result = function(leaf * 1)
    (gradient,) = torch.autograd.grad(result, leaf, SLOPE)
    for image in range(2):
        forward, backward = by_definition(rule, values[image], SLOPE[image], high)
        assert result[image].tolist() == pytest.approx(forward)
        assert gradient[image].tolist() == pytest.approx(backward)


def test_in_place_calls_change_the_tensor_they_were_given():
    values = VALUES.clone()
    with relu_rule("leaky"):
        F.relu_(values)
    assert values[0, 0].item() == pytest.approx(-3 * LEAKY_SLOPE)


def test_a_hardtanh_that_is_no_relu_is_left_alone():
    leaf = VALUES.clone().requires_grad_()
    with relu_rule("deconvnet"):
        result = F.hardtanh(leaf)
    (gradient,) = torch.autograd.grad(result.sum(), leaf)
    assert gradient[0].tolist() == [0, 0, 1, 0, 0, 0]


def test_the_rule_ends_with_its_context_even_after_an_error():
    with pytest.raises(ZeroDivisionError), relu_rule("leaky"):
        raise ZeroDivisionError
    assert torch.relu(torch.tensor(-1.0)) == 0


def test_an_unknown_rule_is_named():
    with pytest.raises(RenderError, match=r"'leeky'.*did you mean 'leaky'"):
        relu_rule("leeky")


SMOOTH = {
    "F.gelu": (F.gelu, F.gelu),
    "nn.GELU": (nn.GELU(), F.gelu),
    "nn.GELU tanh": (nn.GELU("tanh"), lambda x: F.gelu(x, approximate="tanh")),
    "F.silu": (F.silu, F.silu),
    "nn.SiLU": (nn.SiLU(), F.silu),
    "nn.SiLU in place": (nn.SiLU(inplace=True), F.silu),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("way", SMOOTH)
def test_only_redirected_changes_gelu_and_silu_and_only_of_images_that_fall(rule, way):
    function, plain_function = SMOOTH[way]
    # A neuron that falls, one that rises, one that falls beside one that rises, one that should fall.
    values = torch.tensor([[-2.0, 1.0], [-0.1, 1.0], [-2.0, 1.0], [-2.0, 1.0]])
    slope = torch.tensor([[3.0, 0.0], [3.0, 0.0], [3.0, 2.0], [-3.0, 0.0]])
    leaf = values.clone().requires_grad_()
    with relu_rule(rule):
        result = function(leaf * 1)
    (gradient,) = torch.autograd.grad(result, leaf, slope)
    twin = values.clone().requires_grad_()
    expected = plain_function(twin)
    (plain,) = torch.autograd.grad(expected, twin, slope)
    assert plain[0, 0] < 0 < plain[1, 0]
    assert torch.equal(result, expected)
    if rule == "redirected":
        plain[0] = torch.tensor([3.0, 0.0])
    assert torch.allclose(gradient, plain)
