"""Receptive fields against arithmetic, against a scan of single pixels, and published values."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.errors import LayerError, NetworkError
from pipeline.images.preprocess import Preprocess
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, load_network

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Step:
    kernel: int
    stride: int
    padding: int
    dilation: int
    pool: bool


def conv_stack(steps: list[Step], channels: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    modules: list[nn.Module] = []
    for step in steps:
        if step.pool:
            padding = min(step.padding, step.kernel // 2)
            modules.append(nn.MaxPool2d(step.kernel, step.stride, padding, ceil_mode=True))
        else:
            modules.append(
                nn.Conv2d(channels, 4, step.kernel, step.stride, step.padding, step.dilation, bias=False)
            )
            channels = 4
    return nn.Sequential(*modules)


def computed_field(module: nn.Sequential) -> list[tuple[int, int, int]]:
    """Size, stride and start after every layer, by the usual recurrence."""
    size, jump, start = 1, 1, 0
    fields = []
    for layer in module:
        pooled = isinstance(layer, nn.MaxPool2d)
        kernel, stride, padding, dilation = (
            (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
            if pooled
            else (layer.kernel_size[0], layer.stride[0], layer.padding[0], layer.dilation[0])
        )
        size += (kernel - 1) * dilation * jump
        start -= padding * jump
        jump *= stride
        fields.append((size, jump, start))
    return fields


def network(module: nn.Module, height: int, width: int | None = None) -> Network:
    width = height if width is None else width
    preprocess = Preprocess(height=height, width=width, resize=max(height, width))
    return Network.from_module(module, preprocess)


def along_x(layer: Layer) -> tuple[int, int, int]:
    return layer.rf_w, layer.stride_x, layer.start_x


def along_y(layer: Layer) -> tuple[int, int, int]:
    return layer.rf_h, layer.stride_y, layer.start_y


step = st.builds(
    Step,
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    pool=st.booleans(),
).filter(lambda made: made.padding < made.kernel)
"""With more padding than that, positions on the way see nothing but padding."""


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(step, min_size=1, max_size=4), size=st.integers(40, 64))
def test_a_stack_of_layers_follows_the_recurrence(steps: list[Step], size: int) -> None:
    module = conv_stack(steps)
    try:
        layers = choose_layers(network(module, size), ["**"])
    except NetworkError:
        reject()
    for layer, (field, stride, start) in zip(layers, computed_field(module), strict=True):
        starts = [start + position * stride for position in range(layer.grid_w)]
        # Two neighbouring positions inside on one side, and one on the other, show the field.
        left = [first for first in starts if first > 0]
        right = [first for first in starts if first + field < size - stride * 2]
        if len(left) >= 2 and len(right) >= 2:
            assert along_x(layer) == along_y(layer) == (field, stride, start)


def test_uneven_axes_are_told_apart() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, (1, 7), padding=(0, 3)), nn.Conv2d(4, 4, (3, 1), (2, 1)))
    first, second = choose_layers(network(module, 32), ["**"])
    assert along_y(first) == (1, 1, 0)
    assert along_x(first) == (7, 1, -3)
    assert along_y(second) == (3, 2, 0)
    assert along_x(second) == (7, 1, -3)


def test_an_input_that_is_no_square() -> None:
    module = conv_stack([Step(3, 2, 1, 1, False), Step(5, 1, 2, 1, False)])
    _, layer = choose_layers(network(module, 24, 40), ["**"])
    assert along_x(layer) == along_y(layer) == (11, 2, -5)
    assert (layer.grid_h, layer.grid_w) == (12, 20)


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.mix = nn.Linear(64, 64)

    def forward(self, images: Tensor) -> Tensor:
        return self.mix(self.embed(images).flatten(2))


def test_what_mixes_all_positions_sees_the_whole_input() -> None:
    embed, mix = choose_layers(network(_Attention(), 32), ["**"])
    assert along_x(embed) == (4, 4, 0)
    assert along_x(mix) == along_y(mix) == (32, 0, 0)


def test_global_pooling_sees_the_whole_input() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 5, 1))
    first, *rest = choose_layers(network(module, 32), ["**"])
    assert along_x(first) == (3, 2, 0)
    assert [along_x(layer) for layer in rest] == [(32, 0, 0)] * 2


class _Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.narrow = nn.Conv2d(4, 4, 1)
        self.wide = nn.Conv2d(4, 4, 5, padding=4, dilation=2)
        self.out = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        stem = self.stem(images).relu_()
        return self.out(torch.cat([self.narrow(stem), self.wide(stem)], 1))


def scanned(module: nn.Module, name: str, size: int, y: int, x: int) -> tuple[int, int, int, int]:
    """First and last row and column that change the output at (y, x), pixel by pixel."""
    seen: list[Tensor] = []
    handle = module.get_submodule(name).register_forward_hook(lambda *a: seen.append(a[2][0]))
    torch.manual_seed(1)
    image = torch.rand(1, 3, size, size, dtype=torch.float64)
    touched = torch.zeros(size, size, dtype=torch.bool)
    with torch.no_grad():
        module(image)
        for row in range(size):
            for column in range(size):
                other = image.clone()
                other[:, :, row, column] += 10 * torch.randn(3, dtype=torch.float64)
                module(other)
                touched[row, column] = not torch.equal(seen[0][:, y, x], seen.pop()[:, y, x])
    handle.remove()
    rows, columns = touched.any(1).nonzero(), touched.any(0).nonzero()
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def test_branches_agree_with_a_scan_of_single_pixels() -> None:
    torch.manual_seed(0)
    module = _Branches()
    (layer,) = choose_layers(network(module, 28), ["out"])
    assert along_x(layer) == along_y(layer) == (19, 2, -9)
    module.double()
    for y, x in [(7, 7), (0, 6), (13, 2)]:
        box = layer.box(y, x)
        top, bottom, left, right = scanned(module, "out", 28, y, x)
        assert (max(box.top, 0), min(box.bottom, 28)) == (top, bottom + 1)
        assert (max(box.left, 0), min(box.right, 28)) == (left, right + 1)


class _Windows(nn.Module):
    """Positions see their own window of 8 pixels: no even steps."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 4, 2, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.tail(self.embed(images))

    def tail(self, grid: Tensor) -> Tensor:
        windows = grid.unfold(2, 4, 4).unfold(3, 4, 4)
        return grid + windows.sum((4, 5)).repeat_interleave(4, 2).repeat_interleave(4, 3)


class _Wrapped(nn.Module):
    def __init__(self, windows: nn.Module) -> None:
        super().__init__()
        self.windows = windows

    def forward(self, images: Tensor) -> Tensor:
        return self.windows(images).mean((2, 3))


def test_fields_of_windows_contain_those_of_all_positions() -> None:
    """Of 4 positions in a window of 8 pixels, the first sees 6 pixels further on, the last 6 further back."""
    (layer,) = choose_layers(network(_Wrapped(_Windows()), 32), ["windows"])
    assert along_x(layer) == along_y(layer) == (14, 2, -6)


class _Shifted(_Windows):
    """Shifted windows, with what wraps around masked as Swin masks it: by a weight that is nearly 0."""

    def tail(self, grid: Tensor) -> Tensor:
        rolled = grid.roll((-2, -2), (2, 3)).unflatten(3, (-1, 4)).unflatten(2, (-1, 4))
        side = grid.shape[2] // 4
        group = torch.arange(side)[:, None].expand(side, 4).clone()
        group[-1, 2:] = -1  # of the last window, half came from the other side
        weights = ((group[:, :, None] != group[:, None]) * -100.0).to(grid.dtype).softmax(2)
        attended = torch.einsum("wij,zkl,nuwjzl->nuwizk", weights, weights, rolled)
        return attended.flatten(4).flatten(2, 3).roll((2, 2), (2, 3))


def test_masks_of_windows_are_not_taken_for_dependence() -> None:
    """0 times NaN is NaN: by NaN alone the first positions would depend on the last ones."""
    module = _Shifted()
    (layer,) = choose_layers(network(_Wrapped(module), 32), ["windows"])
    assert along_x(layer) == along_y(layer) == (14, 2, -6)
    blank = torch.zeros(1, 3, 32, 32)
    far = blank.clone()
    far[..., 28:] = torch.nan
    assert module(far)[..., 0].isnan().any()


def test_nan_weights_are_named() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    with torch.no_grad():
        module[0].weight.fill_(torch.nan)
    with pytest.raises(LayerError, match="layer 0 outputs NaN on a trial image"):
        choose_layers(network(module, 16), ["**"])


def test_probing_leaves_no_hooks_behind() -> None:
    module = conv_stack([Step(3, 2, 1, 1, False)] * 3)
    choose_layers(network(module, 32), ["**"])
    assert not any(part._forward_hooks for part in module.modules())


PUBLISHED = {
    "alexnet": {"features.1": (11, 4), "features.4": (51, 8), "features.11": (163, 16)},
    "vgg16": {"features.29": (196, 16)},
    "googlenet": {"inception3a": (43, 8), "inception4a": (107, 16), "inception4c": (171, 16)},
    "resnet50": {"layer1.2": (35, 4), "layer2.3": (91, 8), "layer3.5": (267, 16)},
    "efficientnet_lite0": {"blocks.2.1": (67, 8), "blocks.3.2": (147, 16)},
}
"""Size and stride, from the recurrence by hand: torchvision's ResNet-50 has its strides in the 3x3
convolutions, so that its fields are smaller than those of the original."""


@pytest.mark.thorough
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_fields(name: str) -> None:
    layers = choose_layers(load_network(name, weights="random"), [*PUBLISHED[name]])
    for layer in layers:
        assert along_x(layer)[:2] == along_y(layer)[:2] == PUBLISHED[name][layer.name]


@pytest.mark.parametrize(
    ("name", "layer_name"), [("efficientnet_lite0", "blocks.2.1"), ("googlenet", "inception4a")]
)
def test_random_pixels_outside_the_field_change_nothing(name: str, layer_name: str) -> None:
    """And the pixels along its four edges, changed together, do."""
    net = load_network(name, weights="random")
    (layer,) = choose_layers(net, [layer_name])
    y, x = layer.grid_h // 2, layer.grid_w // 2
    box = layer.box(y, x)
    top, left = max(0, int(box.top)), max(0, int(box.left))
    bottom, right = min(224, int(box.bottom)), min(224, int(box.right))
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn(3, 224, 224, generator=generator, dtype=torch.float64)
    noise = 3 * torch.randn(3, 224, 224, generator=generator, dtype=torch.float64)
    outside = torch.rand(224, 224, generator=generator) < 0.5
    outside[top:bottom, left:right] = False
    edges = [torch.zeros(224, 224, dtype=torch.bool) for _ in range(4)]
    edges[0][top, left:right] = edges[1][bottom - 1, left:right] = True
    edges[2][top:bottom, left] = edges[3][top:bottom, right - 1] = True
    images = torch.stack([plain, *(plain + noise * mask for mask in [outside, *edges])])
    seen: list[Tensor] = []
    net.module.double().get_submodule(layer_name).register_forward_hook(
        lambda *a: seen.append(a[2][:, :, y, x])
    )
    with torch.no_grad():
        net.module(images)
    changed = [float((row - seen[0][0]).abs().max()) for row in seen[0][1:]]
    assert changed[0] < 1e-12
    assert min(changed[1:]) > 1e-9


def test_a_layer_whose_middle_sees_only_padding_has_no_known_field() -> None:
    steps = [Step(1, 2, 0, 1, False), Step(1, 3, 0, 1, False), Step(1, 3, 1, 1, False)]
    module = conv_stack([*steps, Step(1, 1, 1, 1, False)])
    for layer in choose_layers(network(module, 40), ["**"]):
        assert layer.rf_h >= 1
        assert layer.rf_w >= 1
