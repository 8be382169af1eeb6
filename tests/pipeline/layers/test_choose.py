"""Which layers are chosen, what kind they are, and what is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import LayerError, NetworkError, UsageError
from pipeline.images.preprocess import Box, Preprocess
from pipeline.layers.choose import choose_layers
from pipeline.layers.defaults import find_classifier, find_default_layers
from pipeline.layers.layer import LISTED, Layer, listed, unit_view
from pipeline.networks.network import Network, load_network
from pipeline.networks.trace import trace_modules
from tests.fixtures.modules import Staged, Transformer, network


def names(module: nn.Module, *patterns: str) -> list[str]:
    return [each.name for each in choose_layers(network(module), patterns, receptive_fields=False)]


def test_stages_are_looked_into_for_their_blocks() -> None:
    expected = ["stages.0.blocks.0", "stages.0.blocks.1", "stages.1.blocks.0", "head"]
    assert names(Staged()) == expected


def test_encoder_blocks_and_the_classifier() -> None:
    assert names(Transformer()) == ["blocks.0", "blocks.1", "blocks.2", "head"]


def test_without_blocks_the_activations_are_taken() -> None:
    plain = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(125, 3),
    )
    assert names(plain) == ["1", "4", "6"]


def test_without_activations_the_layers_with_weights_are_taken() -> None:
    assert names(nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3))) == [
        "0",
        "2",
    ]


def test_a_classifier_that_is_a_convolution() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 7, 1), nn.AdaptiveAvgPool2d(1))
    )
    (_, head) = choose_layers(network(module), receptive_fields=False)
    assert (head.name, head.kind, head.units, head.grid_h) == ("2", "map", 7, 1)


class Normalised(nn.Module):
    """Two towers whose output comes from no module, as CLIP's does; memory is freed on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(48, 48) for _ in range(3))
        self.garbage: list[Tensor] = []
        self.passes = 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        x = images[:, :, ::4, ::4].flatten(1)
        for layer in (self.first, self.second, self.third):
            x = layer(x).relu()
            # What is left lying about decides which address the next tensor gets.
            self.garbage += [torch.empty(2, 48) for _ in range(self.passes % 4)]
            del self.garbage[: self.passes % 3]
        x = x * 2
        return x / x.norm(dim=1, keepdim=True)


def test_an_output_that_no_module_gives_has_no_classifier_however_often_it_is_asked() -> None:
    module = Normalised()
    for _ in range(20):
        calls = trace_modules(module.eval(), torch.rand(2, 3, 16, 16))
        assert find_classifier(module, calls) is None
        assert find_default_layers(module, calls) == ("first", "second", "third")


class Distilled(nn.Module):
    """Two classifiers of one input, whose outputs are combined."""

    def __init__(self, combine: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
        self.first, self.second = nn.Linear(4, 6), nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 6))
        self.combine = combine

    def forward(self, images: Tensor) -> Tensor:
        features = self.body(images)
        return self.combine(self.first(features.mean((2, 3))), self.second(features.flatten(2).mT))


@pytest.mark.parametrize(
    ("combine", "found"),
    [
        (lambda first, second: (first + second.amax(1)) / 2, True),
        (lambda first, second: first + 0.5 * second.amax(1), True),
        (lambda first, second: first * second.amax(1), False),
        (lambda first, second: (first + second.amax(1)).softmax(1), False),
    ],
)
def test_a_pair_of_classifiers_is_found(combine: Callable[[Tensor, Tensor], Tensor], found: bool) -> None:
    expected = ["body.1", "body.3", *(["first", "second.1"] if found else [])]
    assert names(Distilled(combine)) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "pair"),
    [("levit_128s", 224, ("head", "head_dist")), ("efficientformer_l1", 224, ("head", "head_dist"))],
)
def test_distilled_networks_have_both_classifiers(name: str, size: int, pair: tuple[str, ...]) -> None:
    built = load_network(f"timm:{name}", weights="random", input=[f"size={size}"])
    layers = choose_layers(built, receptive_fields=False)
    for last, wanted in zip(layers[-2:], pair, strict=True):
        assert last.name.startswith(wanted)
        assert last.units == 1000


class InPlace(nn.Module):
    """The classifier's output is changed in place and given back as a view."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(True), nn.Conv2d(4, 4, 3), nn.ReLU(True))
        self.head = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(images).mean((2, 3))).mul_(2).view(-1, 5)


def test_a_classifier_whose_output_goes_on_in_the_same_memory_is_found() -> None:
    assert all(names(InPlace()) == ["blocks.1", "blocks.3", "head"] for _ in range(20))


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["stages*"], ["stages.0.blocks.0", "stages.0.blocks.1", "stages.1.blocks.0"]),
        (["stages.1*"], ["stages.1.blocks.0"]),
        (["stages"], ["stages"]),
        (["head", "stem"], ["stem", "head"]),
        (
            ["*.conv"],
            ["stages.0.blocks.0.conv", "stages.0.blocks.1.conv", "stages.1.blocks.0.conv"],
        ),
        (["stages.1**conv", "head"], ["stages.1.blocks.0.conv", "head"]),
        (["stages.[01].down"], ["stages.0.down", "stages.1.down"]),
        (["head", "h*"], ["head"]),
    ],
)
def test_globs(patterns: list[str], expected: list[str]) -> None:
    """Against the defaults first; against every module when none of those match, or for `**`."""
    assert names(Staged(), *patterns) == expected


def test_declared_defaults_are_globs_too() -> None:
    declared = Network.from_module(Staged(), Preprocess(16, 16, 16), default_layers=["stages.?", "head"])
    layers = choose_layers(declared, receptive_fields=False)
    assert [layer.name for layer in layers] == ["stages.0", "stages.1", "head"]
    assert [layer.ordinal for layer in layers] == [0, 1, 2]


def test_kinds_and_shapes() -> None:
    layers = choose_layers(network(Transformer()), ["embed", "blocks.1", "head"])
    assert [listed(layer) for layer in layers] == [
        ("embed", "map", 6, "4x4", "4x4", "4x4", 0, "grid"),
        ("blocks.1", "tokens", 6, "4x4", "all", "-", 2, "grid"),
        ("head", "vector", 5, "1x1", "all", "-", 0, "-"),
    ]
    assert len(LISTED) == len(listed(layers[0]))


class ChannelsLast(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Linear(3, channels)
        self.pool = nn.MaxPool2d(2)

    def forward(self, images: Tensor) -> Tensor:
        return self.pool(self.first(images.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 24), (24, 16)])
@pytest.mark.parametrize("channels", [4, 8, 40])
def test_channels_last_is_told_by_the_grid(height: int, width: int, channels: int) -> None:
    layers = choose_layers(network(ChannelsLast(channels), height, width), ["first", "pool"])
    assert [layer.kind for layer in layers] == ["map_last", "map"]
    assert [layer.units for layer in layers] == [channels] * 2
    assert (layers[0].grid_h, layers[0].grid_w) == (height, width)


def test_a_kind_given_by_hand_wins_where_it_fits() -> None:
    ambiguous = network(ChannelsLast(16))
    assert choose_layers(ambiguous, ["first"], receptive_fields=False)[0].kind == "map_last"
    (layer,) = choose_layers(ambiguous, ["first"], receptive_fields=False, kind="map")
    assert (layer.kind, layer.units) == ("map", 16)
    with pytest.raises(LayerError, match=r"can be of kind tokens: first outputs \(16, 16, 16\)"):
        choose_layers(ambiguous, ["first"], kind="tokens")
    with pytest.raises(UsageError, match="--kind must be one of map, map_last, tokens, vector"):
        choose_layers(ambiguous, kind="maps")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tokens", "height", "width", "expected"),
    [
        (196, 224, 224, (0, 14, 14)),
        (197, 224, 224, (1, 14, 14)),
        (198, 224, 224, (2, 14, 14)),
        (201, 224, 224, (5, 14, 14)),
        (261, 256, 256, (5, 16, 16)),
        (1370, 518, 518, (1, 37, 37)),
        (129, 256, 128, (1, 16, 8)),
        (1, 224, 224, (0, 1, 1)),
        (23, 224, 100, (0, 1, 23)),
    ],
)
def test_token_grids(tokens: int, height: int, width: int, expected: tuple[int, int, int]) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Identity()

        def forward(self, images: Tensor) -> Tensor:
            return self.out(images.mean((1, 2, 3))[:, None, None].expand(-1, tokens, 3))

    (layer,) = choose_layers(network(Tokens(), height, width), ["out"], receptive_fields=False)
    assert (layer.prefix, layer.grid_h, layer.grid_w) == expected


def layer_of(kind: str, **values: int) -> Layer:
    fields = {
        "ordinal": 0,
        "units": 6,
        "prefix": 0,
        "grid_h": 2,
        "grid_w": 3,
        "rf_h": 9,
        "rf_w": 7,
        "stride_y": 4,
        "stride_x": 2,
        "start_y": -3,
        "start_x": 1,
    }
    return Layer("here", kind=kind, **fields | values)  # type: ignore[arg-type]


def test_unit_views_are_views_in_one_order() -> None:
    grid = torch.arange(2 * 6 * 2 * 3.0).view(2, 6, 2, 3)
    last = grid.permute(0, 2, 3, 1).contiguous()
    tokens = torch.cat([torch.zeros(2, 1, 6), last.flatten(1, 2)], 1)
    cases = [
        (layer_of("map"), grid),
        (layer_of("map_last"), last),
        (layer_of("tokens", prefix=1), tokens),
        (layer_of("vector"), grid[:, :, 0, 0].contiguous()),
    ]
    for layer, output in cases:
        view = unit_view(layer, output)
        expected = grid[:, :, :1, :1] if layer.kind == "vector" else grid
        assert torch.equal(view, expected)
        assert view.untyped_storage().data_ptr() == output.untyped_storage().data_ptr()
        assert torch.equal(unit_view(layer, (output, None)), expected)
        assert torch.equal(unit_view(layer, {"hidden": output}), expected)


def test_an_output_that_is_not_of_its_kind_is_refused() -> None:
    with pytest.raises(LayerError, match=r"layer here returned shape \(2, 6\), expected 4 axes \(map\)"):
        unit_view(layer_of("map"), torch.zeros(2, 6))
    with pytest.raises(LayerError, match="layer here returned str"):
        unit_view(layer_of("map"), "text")


def test_boxes_are_not_clipped() -> None:
    assert layer_of("map").box(0, 0) == Box(1, -3, 8, 6)
    assert layer_of("map").box(1, 2) == Box(5, 1, 12, 10)


class Odd(nn.Module):
    """Everything that cannot be probed, and some that looks so but can."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.twice = nn.Conv2d(3, 3, 1)
        self.alias = self.conv
        self.pair = Pair()
        self.named = Named()
        self.words = Words()
        self.never = nn.Conv2d(3, 3, 1)
        self.whole = Whole()
        self.numbers = Numbers()
        self.five = Five()
        self.tokens_first = TokensFirst()

    def forward(self, images: Tensor) -> Tensor:
        grid = self.twice(self.twice(self.conv(images)))
        grid = self.pair(grid)[0] + self.named(grid)["grid"]
        self.words(grid)
        self.numbers(grid)
        self.five(grid)
        self.tokens_first(grid)
        return self.whole(grid) + grid.mean((2, 3))


class Pair(nn.Module):
    def forward(self, grid: Tensor) -> tuple[Tensor, None]:
        return grid + 1, None


class Named(nn.Module):
    def forward(self, grid: Tensor) -> dict[str, Tensor]:
        return {"grid": grid * 2}


class Words(nn.Module):
    def forward(self, grid: Tensor) -> str:
        return "words"


class Whole(nn.Module):
    def forward(self, grid: Tensor) -> Tensor:
        return grid.mean()


class Numbers(nn.Module):
    def forward(self, grid: Tensor) -> Tensor:
        return grid.argmax(1)


class Five(nn.Module):
    def forward(self, grid: Tensor) -> Tensor:
        return grid[..., None]


class TokensFirst(nn.Module):
    def forward(self, grid: Tensor) -> Tensor:
        return grid.flatten(2).permute(2, 0, 1)


def test_tuples_dictionaries_and_shared_modules_are_handled() -> None:
    layers = choose_layers(network(Odd()), ["alias", "conv", "pair", "named"])
    assert [layer.name for layer in layers] == ["conv", "pair", "named"]
    assert [layer.units for layer in layers] == [3, 3, 3]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("twice", r"runs 2 times in one pass; choose twice@1, ..., twice@2 or twice@last, or the module"),
        ("never", "does not run in a forward pass"),
        ("words", "outputs str, not a tensor"),
        ("whole", r"does not have the images on its first axis: shape \(\) for 2 images"),
        ("numbers", "outputs torch.int64, not floating-point activations"),
        ("five", "outputs 5 axes"),
        ("tokens_first", "does not have the images on its first axis"),
    ],
)
def test_what_cannot_be_probed_is_named(name: str, reason: str) -> None:
    with pytest.raises(LayerError, match=f"layer {name} cannot be probed: it {reason}"):
        choose_layers(network(Odd()), [name])


def test_globs_pass_over_what_cannot_be_probed() -> None:
    assert names(Odd(), "**") == ["conv", "pair", "named"]


def test_a_pattern_that_matches_nothing_is_refused_with_a_hint() -> None:
    with pytest.raises(LayerError, match=r"no layer matches 'stage\.0'; did you mean 'stages\.0'"):
        names(Staged(), "stage.0")
    with pytest.raises(LayerError, match=r"no layer matches 'xyz' .*--layers"):
        names(Staged(), "xyz")


def test_a_failing_pass_says_what_was_shown() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(7, 2))
    with pytest.raises(NetworkError, match=r"trial pass on an input of \(3, 16, 16\) failed"):
        names(module)


def test_a_network_without_modules_has_nothing_to_probe() -> None:
    class Bare(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3))

    with pytest.raises(LayerError, match="network Bare has no layer that can be probed"):
        names(Bare())


def test_fields_are_kept_by_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = choose_layers(network(Staged()), cache=tmp_path)
    (kept,) = (path for path in tmp_path.iterdir() if ".positions" not in path.name)

    def fail(*args: object) -> None:
        raise AssertionError("probed again")

    monkeypatch.setattr("pipeline.layers.receptive_field_cache.find_fields", fail)
    torch.manual_seed(9)
    assert choose_layers(network(Staged()), cache=tmp_path) == first
    with pytest.raises(AssertionError, match="probed again"):
        choose_layers(network(Staged()), ["stem"], cache=tmp_path)
    with pytest.raises(AssertionError, match="probed again"):
        choose_layers(network(Staged(), 24), cache=tmp_path)
    monkeypatch.undo()
    kept.write_text("{cut")
    assert choose_layers(network(Staged()), cache=tmp_path) == first


def test_fields_are_found_where_nothing_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert choose_layers(network(Staged()), cache=tmp_path / "file" / "fields")
