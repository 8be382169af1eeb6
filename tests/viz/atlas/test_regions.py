"""What drives a unit without positions: compared with the definition, and drawn into masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.explain.regions import find_grid, relevance
from pipeline.images.preprocess import Preprocess
from pipeline.layers.choose import choose_layers
from pipeline.networks.network import Network
from viz.atlas.maps import DIMMED, GUTTER, MaskMaker, encode_masks, regions_of


class Blocks(nn.Module):
    """Two blocks, of which the second is read in place and at its first position only, and a classifier."""

    def __init__(self, *, corner: bool = False) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(nn.Conv2d(3 if n == 0 else 6, 6, 3, 2, 1) for n in range(2)))
        self.norm = nn.ReLU(inplace=True)
        self.head = nn.Linear(6, 5)
        self.corner = corner

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.blocks(x))
        return self.head(x[:, :, 0, 0] if self.corner else x.mean((2, 3)))


def network(**options: bool) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = Blocks(**options)
    return Network.from_module(module, Preprocess(24, 24, 24, mean=(0.0,) * 3, std=(1.0,) * 3), name="blocks")


def test_before_average_pooling_it_is_the_class_activation_map() -> None:
    loaded = network()
    grid, head = choose_layers(loaded, ["blocks.1", "head"], receptive_fields=False)
    image = torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    found = relevance(loaded.module, grid, head, [4, 1], image)
    with torch.no_grad():
        active = loaded.module.blocks(image)[0].clamp(min=0)
        weights = loaded.module.head.weight[[4, 1]]
        expected = torch.einsum("uc,cyx->uyx", weights, active).clamp(min=0) / (6 * 6)
    assert found is not None
    assert torch.allclose(found, expected, atol=1e-6)


def test_the_network_is_left_as_it_was() -> None:
    loaded = network()
    grid, head = choose_layers(loaded, ["blocks.1", "head"], receptive_fields=False)
    relevance(loaded.module, grid, head, [0], torch.ones(1, 3, 24, 24))
    assert not any(part._forward_hooks for part in loaded.module.modules())
    assert all(parameter.grad is None for parameter in loaded.module.parameters())


def test_the_last_grid_is_found() -> None:
    loaded = network()
    (head,) = choose_layers(loaded, ["head"], receptive_fields=False)
    grid = find_grid(loaded, head)
    assert grid is not None
    assert (grid.name, grid.grid_h, grid.grid_w) == ("norm", 6, 6)


def test_a_network_without_positions_has_no_regions() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 3))
    loaded = Network.from_module(module, Preprocess(2, 2, 2), name="flat")
    (last,) = choose_layers(loaded, ["3"], receptive_fields=False)
    assert find_grid(loaded, last) is None
    assert MaskMaker(loaded, [last]).grid(last) is None


def test_masks_of_a_layer_without_positions_show_the_region() -> None:
    loaded = network()
    (head,) = choose_layers(loaded, ["head"], receptive_fields=False)
    maker = MaskMaker(loaded, [head])
    assert maker.grid(head) == (6, 6)
    pixels = torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    grid = find_grid(loaded, head)
    assert grid is not None
    planes = relevance(loaded.module, grid, head, range(5), loaded.normalise(pixels[None]))
    assert planes is not None
    unit = int(planes.amax((1, 2)).argmax())
    share = planes[unit].numpy() / planes[unit].max().item()
    masks = maker.masks(pixels, {0: [unit]})
    assert masks[0, unit] == pytest.approx(np.round(255 * DIMMED * (1 - share)), abs=1)


def test_regions_are_read_back_from_a_picture() -> None:
    first, second = np.full((4, 5), 183, np.uint8), np.zeros((4, 5), np.uint8)
    first[1, 2] = 0
    found = regions_of(encode_masks([first, second, None], 4, 5), 3)
    assert GUTTER == 1
    assert found[0].count("M") == 1
    points = np.array([point.split() for point in found[0].strip("Mz").split("L")], float)
    assert points.min(0) == pytest.approx([2, 1], abs=0.02)
    assert points.max(0) == pytest.approx([3, 2], abs=0.02)
    assert found[1:] == ["", ""]
