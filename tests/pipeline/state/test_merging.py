"""Parts merged out of core: the bits of a merge in memory, for any order and any size of a block."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import StoreError
from pipeline.state import merging, part_blocks, part_tables
from pipeline.state import statistics as stats
from pipeline.state.commit import Commit, commit_part, list_commits
from pipeline.state.label_sums import LabelSums
from pipeline.state.merging import BlockMerge, MergedParts, unit_spans
from pipeline.state.part import Part
from pipeline.state.prefetch import prefetch
from pipeline.state.stored_labels import gather_labels
from pipeline.state.topk import NO_IMAGE, Ranked
from pipeline.state.unit_state import UnitState
from tests.fixtures.whole_parts import merge_parts
from tests.pipeline.state.test_part import UNITS, K, make_part

SHARDS = {"shard-0": 150, "shard-1": 3, "shard-2": 90, "shard-3": 1, "shard-4": 40}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Part]]:
    """Committed parts whose shards are mixed by name, with sums that are no whole numbers."""
    folder = tmp_path_factory.mktemp("parts")
    groups = [("shard-0", "shard-3"), ("shard-1",), ("shard-2", "shard-4")]
    made = [make_part({name: SHARDS[name] for name in group}, scale=0.1) for group in groups]
    for part in made:
        commit_part(folder, part, "f" * 64)
    return folder, made


@contextlib.contextmanager
def small_pieces(block: int, rows: int, memory: int) -> Iterator[None]:
    """Blocks of so many units, row groups and pieces of so many rows, and so few bytes in memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "units_per_block", lambda k: block)
        patch.setattr(part_tables, "UNITS_PER_GROUP", rows)
        patch.setattr(part_tables, "_GROUP_BYTES", rows * 80)
        patch.setattr(part_blocks, "_PIECE_BYTES", rows * 80)
        patch.setattr("pipeline.store.rows.Rows.__init__.__kwdefaults__", {"memory": memory})
        patch.setattr("pipeline.state.stored_sample._MEMORY", memory)
        yield


def blocks_of(commits: tuple[Commit, ...] | list[Commit], folder: Path) -> UnitState:
    """All blocks of a merge, side by side."""
    with MergedParts(commits, UNITS, folder) as merged:
        found = [state for _, state in merged.blocks()]
        labels = gather(commits, folder)
        assert labels.labels == merged.labels.labels
        for half in (0, 1):
            np.testing.assert_array_equal(merged.labels.read(half), labels.total[half])

    def joined(name: str) -> np.ndarray:
        first, _, second = name.partition(".")
        arrays = [getattr(state, first) for state in found]
        return np.concatenate([getattr(array, second) if second else array for array in arrays])

    def like(name: str, fields: str) -> object:
        kind = type(getattr(found[0], name))
        return kind(*(joined(f"{name}.{field}") for field in fields.split()))

    first = found[0]
    moments = type(first.moments)(
        first.moments.images,
        *(joined(f"moments.{field}") for field in ("mean", "m2", "low", "high", "active")),
    )
    sample = type(first.sample)(
        first.sample.hashes,
        first.sample.image_id,
        np.concatenate([state.sample.peak for state in found], axis=1),
        np.concatenate([state.sample.position for state in found], axis=1),
    )
    lists = [like(side, "score image_id position") for side in ("high", "low")]
    return UnitState(*lists, moments, joined("histogram"), labels, sample)  # type: ignore[arg-type]


def gather(commits: Sequence[Commit], folder: Path) -> LabelSums:
    """The sums per label, in memory."""
    with contextlib.ExitStack() as stack:
        folders = [commit.folder for commit in merging.by_first_shard(commits)]
        sums = gather_labels(folders, UNITS, folder, stack)
        return replace(sums, total=np.stack([sums.read(half) for half in (0, 1)]))


def assert_same_bits(found: UnitState, expected: UnitState) -> None:
    for name in ("high", "low", "moments", "sample"):
        one, other = getattr(found, name), getattr(expected, name)
        for field in type(one).__slots__:
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field), f"{name}.{field}")
    assert found.histogram.dtype == expected.histogram.dtype
    np.testing.assert_array_equal(found.histogram, expected.histogram)
    assert found.labels.labels == expected.labels.labels
    for field in ("images", "total", "squares"):
        np.testing.assert_array_equal(getattr(found.labels, field), getattr(expected.labels, field))


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(3)), st.integers(1, 6), st.integers(1, 4), st.sampled_from([0, 100, 1 << 20]))
def test_blocks_have_the_bits_of_a_merge_in_memory(
    parts: tuple[Path, list[Part]], order: list[int], block: int, rows: int, memory: int
) -> None:
    folder, made = parts
    commits = list_commits(folder)
    expected = merge_parts(made, UNITS, K).state
    with small_pieces(block, rows, memory):
        assert_same_bits(blocks_of([commits[place] for place in order], folder), expected)
    assert not [path for path in folder.iterdir() if path.name.startswith("tmp")]


@pytest.mark.parametrize("rows", [1, 2, 100_000])
def test_parts_may_have_row_groups_of_any_size(
    parts: tuple[Path, list[Part]], tmp_path: Path, rows: int
) -> None:
    _, made = parts
    with small_pieces(2, rows, 1 << 20):
        commits = [commit_part(tmp_path, part, "f" * 64) for part in made]
        assert_same_bits(blocks_of(commits, tmp_path), merge_parts(made, UNITS, K).state)


def test_blocks_may_be_merged_in_any_order(parts: tuple[Path, list[Part]]) -> None:
    """As other processes do, which tell of every part that they have read."""
    folder, made = parts
    commits = list_commits(folder)
    steps: list[int] = []

    def backwards(merge: BlockMerge, blocks: Sequence[slice]) -> Iterator[tuple[int, UnitState]]:
        for number in reversed(range(len(blocks))):
            yield number, merge(blocks[number], partial(steps.append, number))

    with small_pieces(2, 2, 1 << 20), MergedParts(commits, UNITS, folder) as merged:
        forth, back = list(merged.blocks()), list(merged.blocks(backwards))
    assert [span for span, _ in back] == [span for span, _ in forth]
    assert len(forth) > 1
    for (_, one), (_, other) in zip(forth, back, strict=True):
        assert_same_bits(other, one)
    assert steps == [number for number in reversed(range(len(forth))) for _ in made]


def test_a_shard_in_two_parts_is_refused(parts: tuple[Path, list[Part]], tmp_path: Path) -> None:
    folder, _ = parts
    other = commit_part(tmp_path, make_part({"shard-1": 3, "shard-9": 2}), "f" * 64)
    with pytest.raises(StoreError, match="shard-1 is in two parts"):
        MergedParts([*list_commits(folder), other], UNITS, tmp_path)


def test_one_part_alone_stays_as_it_is(parts: tuple[Path, list[Part]]) -> None:
    folder, made = parts
    for commit in list_commits(folder):
        (part,) = (part for part in made if part.shards == commit.shards)
        assert_same_bits(blocks_of([commit], folder), merge_parts([part], UNITS, K).state)


@pytest.mark.parametrize(
    ("score", "place"), [(0.5, None), (1.0, 3), (1.125, 3), (1.5, 2), (2.5, 1), (4.0, 0)]
)
def test_an_image_enters_a_list_at_its_place_or_not_at_all(score: float, place: int | None) -> None:
    def ranked(scores: list[float], ids: list[int]) -> Ranked:
        return Ranked(np.array([scores], np.float32), np.array([ids]), np.zeros((1, 4), np.int32))

    lists = ranked([3.0, 2.0, 1.25, 1.0], [10, 11, 12, 14])
    merging._enter(lists, ranked([score, -np.inf, -np.inf, -np.inf], [13, NO_IMAGE, NO_IMAGE, NO_IMAGE]), abs)
    expected = [10, 11, 12, 14]
    if place is not None:
        expected = [*expected[:place], 13, *expected[place:]][:4]
    assert lists.image_id[0].tolist() == expected


def test_of_no_parts_nothing_is_merged(tmp_path: Path) -> None:
    with MergedParts([], UNITS, tmp_path) as merged:
        assert merged.labels.labels == ()
        assert all(not state.moments.images for _, state in merged.blocks())


def test_many_parts_need_few_file_descriptors(tmp_path: Path) -> None:
    commits = [commit_part(tmp_path, make_part({f"shard-{n:03}": 2}), "f" * 64) for n in range(40)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 16, hard))
    try:
        with MergedParts(commits, UNITS, tmp_path) as merged:
            assert [state.moments.images for _, state in merged.blocks()] == [80]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@given(st.integers(1, 60), st.integers(1, 9))
def test_spans_of_units_never_have_one_unit_alone(units: int, most: int) -> None:
    spans = list(unit_spans(units, most))
    assert [unit for span in spans for unit in range(span.start, span.stop)] == list(range(units))
    assert all(span.stop - span.start > 1 for span in spans) or units == 1


@pytest.mark.parametrize("k", [1, 64, 1000, 100_000, 1 << 40])
def test_a_block_is_a_row_group_or_a_fraction_that_fits(k: int) -> None:
    units = merging.units_per_block(k)
    assert part_tables.UNITS_PER_GROUP % units == 0

    def size(units: int) -> int:
        return units * (k * merging._LIST_BYTES + stats.BUCKETS * 16)

    assert units == 1 or size(units) <= merging._BLOCK_BYTES
    assert units == part_tables.UNITS_PER_GROUP or size(2 * units) > merging._BLOCK_BYTES


def test_each_part_that_is_read_is_told(parts: tuple[Path, list[Part]], tmp_path: Path) -> None:
    folder, made = parts
    told: list[str] = []
    commits = list_commits(folder)
    with MergedParts(commits, UNITS, tmp_path, advance=lambda: told.append("gathered")) as merged:
        merged._merge(slice(0, 2), lambda: told.append("merged"))
    assert told == ["gathered"] * len(made) + ["merged"] * len(made)


def test_parts_of_another_number_of_units_are_refused(parts: tuple[Path, list[Part]], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"has {UNITS} units, the layers have {UNITS + 1}"):
        MergedParts(list_commits(parts[0]), UNITS + 1, tmp_path)


def test_what_fails_while_it_is_read_ahead_is_raised_in_its_turn() -> None:
    def read(number: int) -> int:
        if number == 3:
            raise StoreError("three")
        return number * 2

    found = prefetch(read, range(9))
    assert [next(found) for _ in range(3)] == [(0, 0), (1, 2), (2, 4)]
    with pytest.raises(StoreError, match="three"):
        next(found)
