"""bench.truth: the split, the patches, and the whole on a tiny network."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.truth import halves
from bench.truth.__main__ import main
from bench.truth.choices import chosen_recipes, chosen_units, read_part
from bench.truth.halves import Source, lay_out, list_sources, split
from bench.truth.measure import run
from bench.truth.tables import Row, both_ways
from pipeline.data.dataset import open_dataset
from pipeline.errors import RenderError, UsageError
from pipeline.layers.layer import Layer
from pipeline.progress import Silent
from pipeline.query.index import open_index
from pipeline.query.indexed_network import index_network
from tests.fixtures.tiny import picture
from viz.robust.options import RobustOptions
from viz.robust.training import train_robust


def _sources(count: int) -> list[Source]:
    return [Source(f"class/{n}.png", f"class/{n}.png", None) for n in range(count)]


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


# ---- units ----


def test_units_are_the_last_ones_where_there_are_too_few() -> None:
    layer = Layer("a", 0, "map", 40, 0, 4, 4, 7, 7, 2, 2, 0, 0)
    assert chosen_units(layer, 8, 24) == range(8, 32)
    assert chosen_units(layer, 40, 24) == range(16, 40)
    assert chosen_units(dataclasses.replace(layer, units=5), 40, 24) == range(5)


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


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ("no_such_network", "no_such_network"),
        ("self:nowhere", "nowhere"),
        ("handmade,handmade", "handmade twice"),
        ("dreamsim:gone", "folder with the weights of DreamSim"),
    ],
)
def test_judges_are_refused_before_anything_is_indexed(
    judge: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = "tests.fixtures.tiny:factory"
    with pytest.raises(SystemExit) as caught:
        main(["no-data", "--network", network, "--judge", judge, "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_strip_needs_several_recipes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["no-data", "--recipes", "fourier", "--strip", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert said == ("error: --strip shows the renderings of several recipes; name two or more in --recipes\n")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> argparse.Namespace:
    """Options for a tiny network, and the folder of images that they name."""
    folder = tmp_path_factory.mktemp("truth")
    for number in range(64):
        file = folder / "data" / "ab"[number % 2] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(number))
    return argparse.Namespace(
        data=str(folder / "data"),
        network="tests.fixtures.tiny:factory",
        weights=None,
        judge=["tests.fixtures.tiny:factory"],
        layers=["first"],
        recipes=["fourier", "accentuate"],
        set=["fourier.steps=2", "accentuate.steps=2", "accentuate.images=2"],
        generator=None,
        generator_weights=None,
        robust_copy=None,
        units=3,
        first_unit=4,
        swap=False,
        beside=False,
        strip=False,
        images=None,
        part=(1, 2),
        out=folder / "out",
        seed=0,
    )


def _changed(options: argparse.Namespace, **changes: object) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(options), **changes})


def _assert_same(found: Sequence[Row], expected: Sequence[Row]) -> None:
    for one, other in zip(found, expected, strict=True):
        # The table of renderings holds float32.
        assert one.ratios == pytest.approx(other.ratios)
        assert one == dataclasses.replace(other, ratios=one.ratios)


KINDS = ["real 1", "real 4", "real 9", "fourier", "accentuate"]


@pytest.mark.slow
def test_the_whole_on_a_tiny_network(tiny: argparse.Namespace, capsys: pytest.CaptureFixture[str]) -> None:
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
    with pytest.raises(RenderError, match="give --robust-copy"):
        run(_changed(tiny, recipes=["robust"], set=[]))


@pytest.mark.slow
def test_a_robust_copy_that_was_trained_elsewhere_is_used(tiny: argparse.Namespace, tmp_path: Path) -> None:
    folders = halves.index_halves(_changed(tiny, out=tmp_path), Silent())
    with open_index(folders[1]) as index:
        copy = train_robust(index, index_network(index), RobustOptions(steps=1, batch=2, size=32))
    options = _changed(tiny, out=tmp_path, recipes=["robust"], set=["robust.steps=2"], robust_copy=copy)
    assert [row.explanation for row in run(options).rows] == [*KINDS[:3], "robust"]


@pytest.mark.slow
def test_renderings_are_shown_beside_nine_patches_and_together_too(tiny: argparse.Namespace) -> None:
    beside = run(_changed(tiny, beside=True, strip=True)).rows
    assert [(row.explanation, row.pictures) for row in beside] == [
        ("real 1", 1),
        ("real 4", 4),
        ("real 9", 9),
        ("real 10", 10),
        ("fourier", 1),
        ("real 9, fourier", 10),
        ("accentuate", 2),
        ("real 9, accentuate", 11),
        ("fourier + accentuate", 3),
    ]
    alone = [row for row in beside if row.explanation in KINDS]
    _assert_same(alone, run(tiny).rows)
    by_kind = {row.explanation: row for row in beside}
    assert by_kind["real 9, fourier"].ratios == by_kind["fourier"].ratios


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_json_has_the_directions_where_there_are_two(tiny: argparse.Namespace, tmp_path: Path) -> None:
    command = [
        tiny.data,
        "--network",
        tiny.network,
        "--judge",
        *tiny.judge,
        "--layers",
        *tiny.layers,
        "--recipes",
        "--units",
        "3",
        "--first-unit",
        "4",
        "--part",
        "1/2",
        "--out",
        str(tiny.out),
    ]
    for swap, expected in ([], set()), (["--swap"], {"directions"}):
        main([*command, *swap, "--json", str(tmp_path / "found.json")])
        found = json.loads((tmp_path / "found.json").read_text())
        assert found.keys() == {"network", "judge", "part", "seed", "recipes", "rows"} | expected
        assert [row["explanation"] for row in found["rows"]] == KINDS[:3]
    assert {half: len(rows) for half, rows in found["directions"].items()} == {
        "first": 3,
        "second": 3,
    }
