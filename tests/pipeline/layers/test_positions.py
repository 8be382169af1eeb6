"""Positions are where they are said to be: verified, reordered, or marked as unknown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.check.audit import check_index
from pipeline.config import RunConfig
from pipeline.errors import LayerError
from pipeline.images.preprocess import Preprocess
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer, unit_view
from pipeline.networks.hooks import add_hooks
from pipeline.networks.network import Network, grey_input, load_network
from pipeline.query.index import open_index
from pipeline.runs.fingerprint import fingerprint_fields
from pipeline.runs.run import run_index
from viz.objectives.objective import point
from viz.recipes.catalog import get_recipe
from viz.render.render_index import render_index

SIDE, CELL, WIDTH = 48, 8, 12
CELLS = (SIDE // CELL) ** 2


class Mixing(nn.Module):
    """Adds to each token a little of all of them."""

    def __init__(self, mixing: Tensor | None) -> None:
        super().__init__()
        self.act = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("mixing", mixing)

    def forward(self, tokens: Tensor) -> Tensor:
        if self.mixing is not None:
            return torch.einsum("pq,iqu->ipu", self.mixing, tokens)
        return tokens + 0.3 * self.act(tokens).tanh() + 0.1 * tokens.mean(1, keepdim=True)


class Tokens(nn.Module):
    """Patches in some order, with class tokens before and registers behind them."""

    def __init__(self, order: Tensor, before: int = 0, behind: int = 0, mixing: Tensor | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, WIDTH, CELL, CELL)
        self.order = order
        self.before = nn.Parameter(torch.randn(before, WIDTH))
        self.behind = nn.Parameter(torch.randn(behind, WIDTH))
        self.blocks = nn.Sequential(Mixing(None), Mixing(mixing))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images).flatten(2).transpose(1, 2)[:, self.order]
        ends = [part.expand(len(images), -1, -1) for part in (self.before, self.behind)]
        return self.blocks(torch.cat([ends[0], tokens, ends[1]], 1))


def network(module: nn.Module) -> Network:
    return Network.from_module(module, Preprocess(SIDE, SIDE, SIDE))


ROWS = torch.arange(CELLS)
MASK_UNITS = ROWS.view(3, 2, 3, 2).permute(1, 3, 0, 2).flatten()
SHUFFLED = torch.randperm(CELLS, generator=torch.Generator().manual_seed(3))
SNAKE = torch.cat([row.flip(0) if y % 2 else row for y, row in enumerate(ROWS.view(6, 6))])


@pytest.mark.parametrize("order", [MASK_UNITS, SHUFFLED, SNAKE], ids=["mask units", "shuffled", "snake"])
@pytest.mark.parametrize(("before", "behind"), [(0, 0), (1, 3)])
def test_an_order_is_found(order: Tensor, before: int, behind: int) -> None:
    for layer in choose_layers(network(Tokens(order, before, behind)), ["blocks.*"]):
        assert layer.positions == "reordered"
        assert layer.position_order == tuple((before + order.argsort()).tolist())


@pytest.mark.parametrize("before", [0, 1])
def test_rows_are_verified(before: int) -> None:
    for layer in choose_layers(network(Tokens(ROWS, before)), ["blocks.*"]):
        assert (layer.positions, layer.position_order, layer.prefix) == ("grid", (), before)


def test_tokens_behind_the_grid_are_told_from_it() -> None:
    """The number of tokens alone suggests that they stand before it."""
    (layer,) = choose_layers(network(Tokens(ROWS, 0, 2)), ["blocks.0"])
    assert (layer.prefix, layer.positions) == (2, "reordered")
    assert layer.position_order == tuple(range(CELLS))


def test_without_any_locality_positions_are_unknown() -> None:
    mixing = torch.randn(CELLS, CELLS, generator=torch.Generator().manual_seed(5)) / 6
    first, second = choose_layers(network(Tokens(ROWS, mixing=mixing)), ["blocks.*"])
    assert first.positions == "grid"
    assert second.positions == "unknown"
    assert (second.rf_h, second.rf_w, second.stride_y, second.start_x) == (SIDE, SIDE, 0, 0)


class Shuffling(nn.Module):
    """Tokens out of order, without anything that mixes them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, WIDTH, CELL, CELL)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        return self.out(self.embed(images).flatten(2).transpose(1, 2)[:, SHUFFLED])


def test_fields_are_measured_in_the_order_that_was_found() -> None:
    shuffling = network(Shuffling())
    (layer,) = choose_layers(shuffling, ["out"])
    assert (layer.rf_h, layer.stride_y, layer.start_y) == (CELL, CELL, 0)
    images = grey_input(shuffling)
    images[:, :, 17:19, 33:35] += 3
    views: list[Tensor] = []
    with (
        add_hooks(forward=[(shuffling.module.out, lambda _m, _i, out: views.append(unit_view(layer, out)))]),
        torch.no_grad(),
    ):
        shuffling.module(torch.cat([grey_input(shuffling), images]))
    changed = (views[0][1] - views[0][0]).abs().sum(0)
    assert divmod(int(changed.argmax()), 6) == (2, 4)
    assert int((changed > 0).sum()) == 1


def share_in_place(network: Network, layer: Layer) -> float:
    """Share of some cells whose own position changes most, or one beside it, when they are changed."""
    generator = torch.Generator().manual_seed(11)
    module = network.module.get_submodule(layer.module)
    size = network.preprocess.height
    hits, cells = 0, torch.randint(0, layer.grid_h, (6, 2), generator=generator).tolist()
    for y, x in cells:
        pictures = torch.randint(0, 256, (1, 3, size, size), generator=generator).float().repeat(2, 1, 1, 1)
        rows, columns = (slice(c * size // layer.grid_h, (c + 1) * size // layer.grid_h) for c in (y, x))
        pictures[1, :, rows, columns] = 255 - pictures[1, :, rows, columns]
        views: list[Tensor] = []
        hook = [(module, lambda _m, _i, out, views=views: views.append(unit_view(layer, out)))]
        with add_hooks(forward=hook), torch.no_grad():
            network.module(network.normalise(pictures))
        change = (views[0][1] - views[0][0]).square().sum(0)
        down, along = divmod(int(change.argmax()), layer.grid_w)
        hits += abs(down - y) <= 1 and abs(along - x) <= 1
    return hits / len(cells)


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("timm:hiera_tiny_224", 64, {"blocks.0": "reordered", "blocks.3": "reordered", "blocks.11": "grid"}),
        ("timm:levit_128s", 224, {"stages.0.blocks.1": "grid", "stages.1.blocks.0": "unknown"}),
        ("timm:swin_tiny_patch4_window7_224", 224, {"layers.0.blocks.1": "grid"}),
        ("timm:deit_tiny_patch16_224", 64, {"blocks.1.attn.proj": "grid", "blocks.5": "grid"}),
    ],
)
def test_families(name: str, size: int, expected: dict[str, str]) -> None:
    built = load_network(name, weights="random", input=[f"size={size}"])
    for layer in choose_layers(built, [*expected]):
        assert layer.positions == expected[layer.name]
        if layer.positions == "unknown":
            assert (layer.rf_h, layer.stride_y) == (size, 0)
        elif "attn" not in layer.name:
            assert share_in_place(built, layer) >= 5 / 6


def write_photographs(folder: Path) -> Path:
    """Noise in one cell of each: number n has it at row n, column 5 - n."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(6):
        pixels = np.full((SIDE, SIDE, 3), 110, np.uint8)
        rows = slice(number * CELL, (number + 1) * CELL)
        columns = slice((5 - number) * CELL, (6 - number) * CELL)
        pixels[rows, columns] = generator.integers(0, 256, (CELL, CELL, 3))
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.mark.slow
def test_tables_boxes_and_renderings_use_the_order(tmp_path: Path) -> None:
    config = RunConfig(
        data=write_photographs(tmp_path / "data"), out=tmp_path / "out", layers=("out",), top=2
    )
    shuffling = network(Shuffling())
    run_index(config, network=shuffling)
    with open_index(tmp_path / "out") as index:
        (layer,) = index.layers
        assert layer == choose_layers(shuffling, ["out"])[0]
        assert index.sql("SELECT positions, len(position_order) FROM layers").rows == [("reordered", CELLS)]
        # A unit is highest either in the noise or on the grey around it, where all cells are equal.
        text = (
            "SELECT key, y, x, box_top, box_left FROM patches WHERE side = 'high' AND rank = 1 AND y + x = 5"
        )
        rows = [row for row in index.sql(text).rows if row[1] == int(row[0][0])]
        assert len(rows) > WIDTH // 3
        for _, y, x, top, left in rows:
            assert (top, left) == (y * CELL, x * CELL)
        recipe = get_recipe("fourier", {"steps": "4"})
        (drawn,) = render_index(index, recipe, layers=["out"], units="0", network=shuffling)
        assert (drawn.box_right - drawn.box_left, drawn.box_bottom - drawn.box_top) == (CELL, CELL)
        assert np.isfinite(drawn.activation)
    assert check_index(tmp_path / "out", sample=None, network=shuffling).discrepancies == ()


def test_tables_of_ordinary_layers_have_no_further_columns(tmp_path: Path) -> None:
    """Indexes written before positions were verified open as those do."""
    config = RunConfig(
        data=write_photographs(tmp_path / "data"), out=tmp_path / "out", layers=("embed",), top=2
    )
    run_index(config, network=network(Shuffling()))
    assert "positions" not in pq.read_schema(tmp_path / "out" / "layers.parquet").names
    with open_index(tmp_path / "out") as index:
        assert index.sql("SELECT positions, position_order FROM layers").rows == [("grid", None)]
        assert index.layers[0].positions == "grid"


def test_another_order_is_another_run() -> None:
    (layer,) = choose_layers(network(Shuffling()), ["out"])
    other = replace(layer, positions="grid", position_order=())
    config = RunConfig(data="x", out="y")  # type: ignore[arg-type]
    fields = [
        fingerprint_fields(
            config, digest="", preprocess=Preprocess(), layers=[each], compiled=False, device="cpu"
        )["layers"]
        for each in (layer, other)
    ]
    assert fields[1] == [["out", "tokens", WIDTH]]
    assert fields[0][0][:3] == fields[1][0]
    assert len(fields[0][0]) == 4


def test_an_order_that_does_not_fit_is_refused() -> None:
    (layer,) = choose_layers(network(Shuffling()), ["out"])
    record = layer.record()
    assert Layer.from_record(record) == layer
    for order in (record["position_order"][:-1], [0] * CELLS, [-1, *record["position_order"][1:]]):
        with pytest.raises(LayerError, match=r"position_order has .* expected 36 different ones"):
            Layer.from_record({**record, "position_order": order})


def test_placings_are_cached_unless_unknown(tmp_path: Path) -> None:
    mixing = torch.randn(CELLS, CELLS, generator=torch.Generator().manual_seed(5)) / 6
    for module in (Tokens(SHUFFLED), Tokens(SHUFFLED, mixing=mixing)):
        found = choose_layers(network(module), ["blocks.*"], cache=tmp_path)
        assert choose_layers(network(module), ["blocks.*"], cache=tmp_path) == found
    texts = [path.read_text() for path in tmp_path.glob("*.positions.json")]
    assert texts
    assert all("reordered" in text and "unknown" not in text for text in texts)
    for path in tmp_path.glob("*.positions.json"):
        path.write_text('{"blocks.0 tokens 6 6": {"positions": "grid", "order": [1]}}')
    assert choose_layers(network(Tokens(SHUFFLED)), ["blocks.*"], cache=tmp_path)[0].positions == "reordered"


def test_a_rendering_of_a_reordered_layer_reads_the_cell_that_is_named() -> None:
    from viz.passes.scorer import Scorer
    from viz.passes.watch import Watch

    shuffling = network(Tokens(SHUFFLED))
    (layer,) = choose_layers(shuffling, ["blocks.0"])
    pictures = torch.full((1, 3, SIDE, SIDE), 120.0)
    with Watch(shuffling, [layer], None) as watch:
        _, slope = Scorer(watch, precision="fp32").gradient(pictures, [point(layer, 1, 1, 4)], 0)
    energy = slope[0].square().sum(0).view(6, CELL, 6, CELL).sum((1, 3))
    assert divmod(int(energy.argmax()), 6) == (1, 4)
