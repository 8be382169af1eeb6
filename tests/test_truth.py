"""bench/truth: the split, the patches, the judge's answers, and the whole on a tiny network."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tiny import picture
from torch import Tensor

from bench.truth import halves
from bench.truth.__main__ import main
from bench.truth.answers import Told, interval, tell
from bench.truth.choices import chosen_recipes, chosen_units, read_part
from bench.truth.explanations import Explained
from bench.truth.halves import Source, lay_out, list_sources, split
from bench.truth.judge import accuracy
from bench.truth.measure import run
from bench.truth.patches import _looked_at, cut
from bench.truth.tables import Row, both_ways, pooled, row_of, table_row
from pipeline.errors import RenderError, UsageError
from pipeline.geometry import Box
from pipeline.layers import Layer
from pipeline.sources import open_dataset

FEATURES = 16


def _sources(count: int) -> list[Source]:
    return [Source(f"class/{n}.png", f"class/{n}.png", None) for n in range(count)]


def _features(count: int, seed: int) -> Tensor:
    return torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(seed))


# ---- the split ----


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 23, 40])
def test_halves_of_all_parts_are_disjoint_and_cover_everything(count: int, parts: int) -> None:
    sources = _sources(count)
    halves = [half for part in range(parts) for half in split(sources, part, parts)]
    names = [source.name for half in halves for source in half]
    assert sorted(names) == sorted(source.name for source in sources)
    assert max(map(len, halves)) - min(map(len, halves)) <= 2


def test_the_split_does_not_depend_on_the_order_and_is_no_sort() -> None:
    sources = _sources(40)
    assert split(sources) == split(sources[::-1])
    first = {source.name for source in split(sources)[0]}
    assert first != {source.name for source in sources[:20]}


def test_images_cut_from_one_photograph_follow_each_other() -> None:
    sources = [Source(f"{n}.png", str(n // 4), None) for n in range(40)]
    first, second = split(sources)
    assert not {source.group for source in first} & {source.group for source in second}


def test_fewer_images_are_the_first_of_the_order() -> None:
    sources = _sources(40)
    few = split(sources, images=10)
    assert [len(half) for half in few] == [5, 5]
    assert few[0] + few[1] == split(sources)[0][:10]


def test_folders_are_laid_out_by_class_once_and_for_one_split(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for number in range(6):
        file = data / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(number))
    dataset = open_dataset((str(data),))
    first, second = split(list(list_sources(dataset)))
    for _ in range(2):
        lay_out(tmp_path / "first", first, dataset)
    laid = sorted(path for path in (tmp_path / "first").rglob("*.png"))
    assert [path.relative_to(tmp_path / "first").as_posix() for path in laid] == sorted(
        source.name for source in first
    )
    assert all(path.resolve().parent.parent == data for path in laid)
    with pytest.raises(UsageError, match="another split"):
        lay_out(tmp_path / "first", second, dataset)


# ---- patches ----


@pytest.mark.parametrize("top", [-9, -0.4, 5, 12.6, 40])
def test_a_patch_keeps_its_size_at_a_border(top: float) -> None:
    picture = torch.arange(20 * 20).view(1, 20, 20)
    patch = cut(picture, Box(top, 3, top + 7, 10))
    assert patch.shape == (1, 7, 7)
    assert patch[0, 0, 0] == 20 * 3 + min(max(round(top), 0), 13)


def test_a_box_as_large_as_the_picture_is_the_picture() -> None:
    picture = torch.arange(3 * 6 * 8).view(3, 6, 8)
    assert torch.equal(cut(picture, Box(-4, -4, 30, 30)), picture)
    assert cut(picture, Box(1, -4, 4, 30)).shape == (3, 6, 3)


def test_a_rendering_is_cut_where_its_target_looks() -> None:
    cut_at_a_border = _looked_at((78, 162), (0, 224), (8, 232), 1.0)
    assert cut_at_a_border == (86, 170)
    assert _looked_at((100, 124), (79, 146), (0, 134), 2.0) == (42, 90)
    own_field = _looked_at((78, 162), (0, 224), (30, 112), 1.0)
    assert own_field == (30, 112)


def test_units_are_the_last_ones_where_there_are_too_few() -> None:
    layer = Layer("a", 0, "map", 40, 0, 4, 4, 7, 7, 2, 2, 0, 0)
    assert chosen_units(layer, 8, 24) == range(8, 32)
    assert chosen_units(layer, 40, 24) == range(16, 40)
    assert chosen_units(dataclasses.replace(layer, units=5), 40, 24) == range(5)


# ---- answers ----


def test_what_equals_the_top_patches_is_always_right() -> None:
    direction = _features(1, 0)
    top = direction + 0.1 * _features(6, 1)
    low = 0.1 * _features(6, 2) - direction
    assert accuracy(top, low, top) == 1
    assert accuracy(top, low, low) == 0


@pytest.mark.parametrize("seed", range(5))
def test_top_and_low_exchanged_give_the_rest_to_one(seed: int) -> None:
    top, low = _features(4, seed), _features(8, seed + 50)
    low[2], top[3] = top[0], low[1]
    explanation = _features(3, seed + 99)
    there, back = (accuracy(*pair, explanation) for pair in ((top, low), (low, top)))
    assert there + back == 1


def test_nothing_but_ties_is_chance() -> None:
    same = torch.ones(6, FEATURES)
    assert accuracy(same, same, _features(2, 0)) == 0.5


def test_random_explanations_are_right_half_of_the_time() -> None:
    found = [
        accuracy(_features(6, n), _features(6, 1000 + n), _features(1, 2000 + n))
        for n in range(300)
    ]  # fmt: skip
    mean, half = interval(found)
    assert abs(mean - 0.5) < 2 * half


def _planted(shared: float) -> tuple[dict[int, tuple[Tensor, Tensor]], dict[int, Tensor]]:
    """Units that each have a direction, and one that top patches of all units share.

    Low patches show something else, the same for all.
    """
    axes = torch.eye(FEATURES)
    questions, explanations = {}, {}
    for unit in range(10, 22):
        liked = shared * axes[14] + 3 * axes[unit - 10]
        top, low, seen = (0.1 * _features(6, 9 * unit + number) for number in range(3))
        questions[unit] = (liked + top, 3 * axes[15] + low)
        explanations[unit] = liked + seen
    return questions, explanations


def test_what_units_share_helps_another_units_explanation_unless_it_is_taken_away() -> None:
    questions, explanations = _planted(shared=5.0)
    told = tell(questions, explanations, torch.zeros(FEATURES))
    assert told.units == tuple(range(10, 22))
    assert set(told.common) == set(told.own) == {1.0}
    assert set(told.other_common) == {1.0}
    assert interval(told.other_own)[0] < 0.5


def test_the_control_is_the_next_units_explanation() -> None:
    questions, explanations = _planted(shared=0.0)
    turned = {unit: explanations[10 + (unit - 9) % 12] for unit in explanations}
    common = torch.zeros(FEATURES)
    told, control = (tell(questions, each, common) for each in (explanations, turned))
    assert told.other_common == control.common
    assert told.other_own == pytest.approx(control.own)


def test_units_without_an_explanation_are_left_out() -> None:
    questions, explanations = _planted(shared=0.0)
    del explanations[12]
    told = tell(questions, explanations, torch.zeros(FEATURES))
    assert 12 not in told.units
    assert len(told.own) == 11


def test_layers_are_pooled_unit_by_unit() -> None:
    questions, explanations = _planted(shared=0.0)
    told = tell(questions, explanations, torch.zeros(FEATURES))
    few = Told((10,), (0.0,), (0.5,), (0.0,), (0.5,))
    one = Row("a", "real 4", 4.0, told, told.common, told.own, (), ())
    other = Row("b", "real 4", 1.0, few, (0.0,), (0.25,), (2.0,), ("ok",))
    both = pooled([one, other])
    assert both.told.own == (*told.own, 0.5)
    assert both.own_gain == (*told.own, 0.25)
    assert both.pictures == pytest.approx((4 * 12 + 1) / 13)
    assert "| 13 | " in table_row(both)


def test_the_interval_is_that_of_the_normal_approximation() -> None:
    mean, half = interval([0.0, 1.0, 0.0, 1.0])
    assert mean == 0.5
    assert half == pytest.approx(1.96 * (1 / 3) ** 0.5 / 2)


# ---- both directions ----


def _row(seed: int, units: Sequence[int], real: Row | None = None) -> Row:
    """Explanations of units with accuracies that are chance, and a rendering of each unit."""
    generator = torch.Generator().manual_seed(seed)
    columns = torch.randint(37, (4, len(units)), generator=generator) / 36
    told = Told(tuple(units), *(tuple(column) for column in columns.tolist()))
    layer = Layer("a", 0, "map", 40, 0, 4, 4, 7, 7, 2, 2, 0, 0)
    explained = Explained("fourier", {unit: torch.zeros(1 + seed, FEATURES) for unit in units})
    row = row_of(layer, explained, told, real and real.told)
    ratios = tuple(torch.rand(len(units), generator=generator).tolist())
    statuses = tuple("ok" if ratio > 0.5 else "weak" for ratio in ratios)
    return dataclasses.replace(row, ratios=ratios, statuses=statuses)


@pytest.mark.parametrize("seed", range(5))
def test_the_mean_of_both_directions_does_not_depend_on_which_comes_first(seed: int) -> None:
    one, other = _row(seed, range(3, 9)), _row(seed + 5, range(3, 9))
    forth, back = both_ways(one, other), both_ways(other, one)
    assert forth.told.units == one.told.units
    assert forth.pictures == seed + 3.5
    assert sorted(forth.ratios) == sorted(back.ratios) == sorted(one.ratios + other.ratios)
    assert sorted(forth.statuses) == sorted(back.statuses) == sorted(one.statuses + other.statuses)
    assert forth == dataclasses.replace(back, ratios=forth.ratios, statuses=forth.statuses)


@pytest.mark.parametrize("seed", range(5))
def test_the_mean_of_equal_directions_is_either(seed: int) -> None:
    row = _row(seed, range(3, 9), _row(seed + 5, range(3, 9)))
    both = both_ways(row, row)
    assert dataclasses.replace(both, ratios=row.ratios, statuses=row.statuses) == row
    assert table_row(both) == table_row(row)


@pytest.mark.parametrize("seed", range(5))
def test_a_units_mean_gain_is_its_mean_accuracy_less_that_of_a_real_patch(seed: int) -> None:
    reals = [_row(number, range(3, 9)) for number in (seed, seed + 5)]
    rows = [_row(seed + 10 + number, range(3, 9), real) for number, real in enumerate(reals)]
    real, both = both_ways(*reals), both_ways(*rows)
    for gains, mine, theirs in (
        (both.common_gain, both.told.common, real.told.common),
        (both.own_gain, both.told.own, real.told.own),
    ):
        assert gains == pytest.approx(
            [one - other for one, other in zip(mine, theirs, strict=True)]
        )


def test_a_unit_that_one_direction_lacks_has_no_mean() -> None:
    real = _row(0, range(3, 9))
    one, other = _row(1, (3, 4, 6, 8), real), _row(2, (4, 5, 6, 7, 8), real)
    both = both_ways(one, other)
    assert both.told.units == (4, 6, 8)
    assert both.told.own == tuple(
        (one.told.own[there] + other.told.own[here]) / 2 for there, here in ((1, 0), (2, 2), (3, 4))
    )


# ---- the command ----


def test_options_belong_to_a_recipe_that_is_asked_for() -> None:
    fourier, maco = chosen_recipes(["fourier", "maco"], ["maco.steps=9"])
    assert (fourier.total_steps, maco.total_steps) == (128, 9)
    for wrong in ("octaves.steps=9", "steps=9", "maco.steps"):
        with pytest.raises(UsageError, match="of fourier, maco"):
            chosen_recipes(["fourier", "maco"], [wrong])
    with pytest.raises(RenderError, match="explains no unit"):
        chosen_recipes(["dream"], [])
    assert read_part("1/2") == (1, 2)
    for wrong in ("2/2", "1", "-1/2", "a/b"):
        with pytest.raises(argparse.ArgumentTypeError):
            read_part(wrong)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> argparse.Namespace:
    """Options for a tiny network, and the folder of images that they name."""
    folder = tmp_path_factory.mktemp("truth")
    for number in range(64):
        file = folder / "data" / "ab"[number % 2] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(number))
    return argparse.Namespace(
        data=str(folder / "data"), network="tests.tiny:factory", judge="tests.tiny:factory",
        layers=["first"], recipes=["fourier", "accentuate"],
        set=["fourier.steps=2", "accentuate.steps=2", "accentuate.images=2"], generator=None,
        units=3, first_unit=4, swap=False, images=None, part=(1, 2), out=folder / "out", seed=0,
    )  # fmt: skip


def _changed(options: argparse.Namespace, **changes: object) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(options), **changes})


def _assert_same(found: Sequence[Row], expected: Sequence[Row]) -> None:
    for one, other in zip(found, expected, strict=True):
        # The table of renderings holds float32.
        assert one.ratios == pytest.approx(other.ratios)
        assert one == dataclasses.replace(other, ratios=one.ratios)


KINDS = ["real 1", "real 4", "real 9", "fourier", "accentuate"]


def test_the_whole_on_a_tiny_network(
    tiny: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = run(tiny)
    rows = measured.rows
    table = capsys.readouterr().out
    assert [row.explanation for row in rows] == KINDS
    assert all(row.told.units == (2, 3, 4) and len(row.told.own) == 3 for row in rows)
    assert [row.pictures for row in rows] == [1, 4, 9, 1, 2]
    assert len(rows[-1].statuses) == 6
    assert set(rows[0].own_gain) == {0}
    assert measured.directions == {"first": rows}
    # One layer is all layers, so that the table is there twice.
    assert [line.split(" | ")[0] for line in table.splitlines() if " ± " in line] == [
        f"| {kind}" for kind in [*KINDS, *KINDS]
    ]
    laid = [sorted((tiny.out / "images" / half).rglob("*.png")) for half in ("first", "second")]
    assert [len(half) for half in laid] == [16, 16]
    _assert_same(run(tiny).rows, rows)
    with pytest.raises(RenderError, match="give --generator"):
        run(_changed(tiny, recipes=["prior"], set=[]))


def test_with_swap_each_half_explains_and_asks_once(
    tiny: argparse.Namespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    forth = run(tiny).rows
    capsys.readouterr()
    both = run(_changed(tiny, swap=True))
    titles = [line for line in capsys.readouterr().out.splitlines() if line[:1] not in ("|", "")]
    assert [title.partition(":")[0] for title in titles] == [
        "first, first half explains",
        "first, second half explains",
        "first, mean of both directions",
        "all layers, mean of both directions",
    ]
    monkeypatch.setattr(halves, "split", lambda *given: split(*given)[::-1])
    back = run(_changed(tiny, out=tmp_path / "exchanged")).rows
    assert [row.told for row in forth] != [row.told for row in back]
    assert list(both.directions) == ["first", "second"]
    _assert_same(both.directions["first"], forth)
    _assert_same(both.directions["second"], back)
    _assert_same(both.rows, [both_ways(*pair) for pair in zip(forth, back, strict=True)])


def test_the_json_has_the_directions_where_there_are_two(
    tiny: argparse.Namespace, tmp_path: Path
) -> None:
    command = [
        tiny.data, "--network", tiny.network, "--judge", tiny.judge, "--layers", *tiny.layers,
        "--recipes", "--units", "3", "--first-unit", "4", "--part", "1/2", "--out", str(tiny.out),
    ]  # fmt: skip
    for swap, expected in ([], set()), (["--swap"], {"directions"}):
        main([*command, *swap, "--json", str(tmp_path / "found.json")])
        found = json.loads((tmp_path / "found.json").read_text())
        assert found.keys() == {"network", "judge", "part", "seed", "recipes", "rows"} | expected
        assert [row["explanation"] for row in found["rows"]] == KINDS[:3]
    assert {half: len(rows) for half, rows in found["directions"].items()} == {
        "first": 3,
        "second": 3,
    }
