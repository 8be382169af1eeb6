"""Whether an output of three axes has the units first or last, where the shape does not say it."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.layers.choose import choose_layers
from pipeline.layers.unit_axis import guess_kind, is_doubtful, measure_kinds
from tests.fixtures.modules import network

SIZES = st.integers(1, 300)


class Grid(nn.Module):
    """A convolution without a square grid, its output with the units first and last.

    Args:
        channels: units.
        kernel: rows and columns, which are also the strides.
        size: the only size of inputs that is accepted; None for any.
        pooled: subtract the mean of each unit, so that every position sees the whole input.
    """

    def __init__(
        self, channels: int, kernel: tuple[int, int], size: int | None = None, *, pooled: bool = False
    ) -> None:
        super().__init__()
        self.size, self.pooled = size, pooled
        self.conv = nn.Conv2d(3, channels, kernel, kernel)
        self.first, self.last, self.vector = nn.Identity(), nn.Identity(), nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        found = self.conv(images)
        if self.pooled:
            found = found - found.mean((2, 3), keepdim=True)
        self.first(found)
        if self.size is not None and images.shape[-1] != self.size:
            raise ValueError("another size")
        return self.vector(self.last(found.permute(0, 2, 3, 1)).mean((1, 2)))


def kinds(module: nn.Module, height: int, width: int) -> list[tuple[str, int, int, int]]:
    found = choose_layers(network(module, height, width), ["first", "last"], receptive_fields=False)
    return [(layer.kind, layer.units, layer.grid_h, layer.grid_w) for layer in found]


def test_a_grid_without_the_aspect_ratio_of_the_input() -> None:
    assert guess_kind((4, 3, 24), 48, 48) == "map_last"
    assert is_doubtful((4, 3, 24), 48, 48)
    assert kinds(Grid(4, (16, 2)), 48, 48) == [("map", 4, 3, 24), ("map_last", 4, 3, 24)]


def test_as_many_units_as_rows_and_columns() -> None:
    assert kinds(Grid(8, (2, 2)), 16, 16) == [("map", 8, 8, 8), ("map_last", 8, 8, 8)]


def test_a_network_for_inputs_of_one_size() -> None:
    assert kinds(Grid(4, (16, 2), 48), 48, 48) == [("map", 4, 3, 24), ("map_last", 4, 3, 24)]
    assert kinds(Grid(8, (2, 2), 16), 16, 16) == [("map", 8, 8, 8), ("map_last", 8, 8, 8)]


def test_a_grid_of_one_row() -> None:
    for size in (None, 16):
        assert kinds(Grid(5, (16, 4), size), 16, 16) == [("map", 5, 1, 4), ("map_last", 5, 1, 4)]


def test_the_units_are_first_where_nothing_says_it() -> None:
    module = Grid(8, (2, 2), 16, pooled=True)
    blank = torch.zeros(1, 3, 16, 16)
    assert measure_kinds(module.eval(), blank, ["first", "last"]) == {"first": "map"}
    assert kinds(module, 16, 16) == [("map", 8, 8, 8), ("map", 8, 8, 8)]
    assert kinds(Grid(8, (2, 2), pooled=True), 16, 16) == [("map", 8, 8, 8), ("map_last", 8, 8, 8)]


def test_no_pass_is_made_without_a_doubt() -> None:
    class Fails(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise AssertionError("it ran")

    assert measure_kinds(Fails(), torch.zeros(1, 3, 8, 8), []) == {}
    assert not is_doubtful((4, 7, 7), 224, 224)
    assert not is_doubtful((7, 7, 64), 224, 224)
    assert not is_doubtful((512, 1, 33), 32, 128)


@given(height=SIZES, width=SIZES, stride=st.integers(1, 40), up=st.booleans(), units=st.integers(301, 400))
def test_grids_that_a_stride_gives_are_told_from_units(
    height: int, width: int, stride: int, up: bool, units: int
) -> None:
    rows, columns = (max(1, -(-size // stride) if up else size // stride) for size in (height, width))
    assert not is_doubtful((units, rows, columns), height, width)
    assert guess_kind((units, rows, columns), height, width) == "map"
