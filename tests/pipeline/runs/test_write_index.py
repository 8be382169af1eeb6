"""Tables written from parts: the same bytes whatever is in memory at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.runs import part_rows, unit_rows
from pipeline.runs.unit_rows import UnitRows
from pipeline.runs.unit_tables import write_index
from pipeline.state import merging
from pipeline.state.commit import Commit, commit_part
from pipeline.state.part import Part
from pipeline.store.run_file import Totals
from tests.fixtures.whole_parts import merge_parts
from tests.pipeline.state.test_part import LAYERS, UNITS, K, make_part


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Commit, Part]]:
    """Parts of two shards each; those of all are mixed by name."""
    folder = tmp_path_factory.mktemp("parts")
    made = [make_part({f"shard-{n}": 30 + n, f"shard-{n}5": 3}, scale=0.1) for n in range(4)]
    return [(commit_part(folder, part, "f" * 64), part) for part in made]


def write(out: Path, commits: list[Commit]) -> Totals:
    out.mkdir()
    return write_index(out, LAYERS, commits, fingerprint="f" * 64)


@pytest.mark.parametrize("block", [2, 3])
def test_tables_do_not_depend_on_blocks_order_or_open_files(
    parts: list[tuple[Commit, Part]], tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = [commit for commit, _ in parts]
    expected = write(tmp_path / "whole", commits)
    monkeypatch.setattr(merging, "units_per_block", lambda k: block)
    monkeypatch.setattr(unit_rows, "_LABEL_BYTES", 16)
    monkeypatch.setattr(part_rows, "_OPEN", 1)
    monkeypatch.setattr(part_rows, "_BATCH_ROWS", 2)
    assert write(tmp_path / "blocks", commits[::-1]).tables == expected.tables
    ids = pq.read_table(tmp_path / "blocks" / "images.parquet")["image_id"].to_numpy()
    assert len(ids) == sum(part.images.num_rows for _, part in parts)
    assert (np.diff(ids) > 0).all()
    assert sorted(path.suffix for path in (tmp_path / "blocks").iterdir()) == [".parquet"] * 9


def test_tables_of_units_are_those_of_a_merge_in_memory(
    parts: list[tuple[Commit, Part]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[UnitRows] = []
    made = UnitRows.of_block

    def of_block(rows: UnitRows, *arguments: object) -> object:
        seen.append(rows)
        rest = merge_parts((part for _, part in parts), UNITS, K).state.informative()
        return made(rows, slice(0, UNITS), rest)

    out = tmp_path / "written"
    expected = write(out, [commit for commit, _ in parts])
    monkeypatch.setattr(UnitRows, "of_block", of_block)
    assert write(tmp_path / "in memory", [commit for commit, _ in parts]).tables == expected.tables
    assert len(seen) == 1
