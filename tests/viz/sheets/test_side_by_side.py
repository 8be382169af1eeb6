"""Sheets that show each unit beside the nearest unit of another index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import LayerError, RenderError, StoreError, UsageError
from pipeline.query.index import Index, open_index
from pipeline.query.matching import find_matches
from pipeline.store.derived import FINGERPRINT_NOTE
from tests.fixtures.commands import done, refused, run
from tests.fixtures.small_index import build_index, build_photographs
from viz.sheets import side_by_side
from viz.sheets.side_by_side import draw_side_by_side

Pair = tuple[Path, Path]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    data = build_photographs(folder / "photographs")
    made = []
    for seed in (0, 5):
        (folder / str(seed)).mkdir()
        made.append(build_index(folder / str(seed), seed=seed, data=data))
    return made[0], made[1]


@pytest.fixture
def both(pair: Pair) -> Iterator[tuple[Index, Index]]:
    with open_index(pair[0]) as index, open_index(pair[1]) as other:
        yield index, other


def test_each_unit_is_beside_its_nearest_and_the_most_changed_is_first(
    both: tuple[Index, Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = []
    draw = side_by_side.draw_page

    def keep(cells, text, columns):
        pages.append((cells, text, columns))
        return draw(cells, text, columns)

    monkeypatch.setattr(side_by_side, "draw_page", keep)
    files = draw_side_by_side(*both, layers="blocks.1", page_units=8)
    matches = find_matches(*both, {"blocks.1": range(12)})
    cells = [cell for page, _, _ in pages for cell in page]
    ours, theirs = cells[::2], cells[1::2]
    units = [int(cell.title.split()[1]) for cell in ours]
    assert sorted(units) == list(range(12))
    likeness = [m.jaccard if (m := matches.get(("blocks.1", unit))) else 0 for unit in units]
    assert likeness == sorted(likeness)
    for unit, cell in zip(units, theirs, strict=True):
        match = matches.get(("blocks.1", unit))
        if match is None:
            assert (cell.title, cell.tiles) == ("no unit", ())
        else:
            number = both[1].unit_name(match.layer, match.unit).partition(" (")[0]
            assert number in (cell.title, cell.subtitle.partition(", ")[2])
            assert cell.subtitle.startswith(match.layer)
            assert cell.note == f"{match.shared} shared ({match.jaccard:.0%})"
    assert [len(page) for page, _, _ in pages] == [16, 8]
    assert len(files) == 2
    for file, (_, text, columns) in zip(files, pages, strict=True):
        with Image.open(file) as picture:
            assert picture.text[FINGERPRINT_NOTE] == both[0].run["fingerprint"]
            assert picture.width > 3000
        assert columns == 4
        assert "beside shapes (index)" in text.subtitle


def test_wrong_calls(both: tuple[Index, Index], tmp_path: Path) -> None:
    with pytest.raises(LayerError):
        draw_side_by_side(*both, layers="block")
    with pytest.raises(UsageError, match="a page holds 1 to"):
        draw_side_by_side(*both, page_units=0)
    with pytest.raises(RenderError, match="recipe 'fourier'"):
        draw_side_by_side(*both, layers="stem", recipe="fourier")
    (tmp_path / "own.toml").write_text('base = "fourier"\nname = "calm"\n')
    with pytest.raises(RenderError, match="recipe 'calm'"):
        draw_side_by_side(*both, layers="stem", recipe=str(tmp_path / "own.toml"))
    data = build_photographs(tmp_path / "photographs")
    (data / "disc" / "disc-07.jpg").rename(data / "disc" / "disc-99.jpg")
    with (
        open_index(build_index(tmp_path, data=data)) as strange,
        pytest.raises(StoreError, match="indexes of different datasets"),
    ):
        draw_side_by_side(both[0], strange, layers="stem")


def test_from_the_command_line(pair: Pair) -> None:
    out, other = map(str, pair)
    printed = done("sheets", out, "--layer", "stem", "--units", "0-3", "--with", other)
    assert printed.stdout.strip().endswith("-001.png")
    said = refused(run("sheets", out, "--with", other, "--pdf"), code=2)
    assert "--pdf, --paper and --spotlight cannot be combined with --with" in said
