"""The laws of merging parts, and commits that are whole or not there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.shard import Sample
from pipeline.errors import StoreError
from pipeline.image_id import image_id
from pipeline.layers.layer import Layer
from pipeline.state import statistics as stats
from pipeline.state.commit import Commit, choose_disjoint, commit_part, list_commits
from pipeline.state.part import Part, ShardRecord
from pipeline.state.part_tables import tables_of
from pipeline.state.sample import SAMPLE_SIZE, image_hash
from pipeline.state.unit_state import UnitState
from pipeline.store import tables as store
from pipeline.store.schemas import ERRORS, PART_IMAGES
from pipeline.stream import accumulator
from pipeline.stream.accumulator import Accumulator
from pipeline.stream.probes import reduce_view
from tests.fixtures.whole_parts import empty_part, merge, merge_parts

K = 3
LAYERS = (
    Layer("one", 0, "map", 3, 0, 2, 2, 4, 4, 1, 1, 0, 0),
    Layer("two", 1, "vector", 2, 0, 1, 1, 8, 8, 0, 0, 0, 0),
)
UNITS = 5


def activations(shard: str, count: int, scale: float = 1) -> list[torch.Tensor]:
    """Each layer's output (image, unit, y, x) for a shard: small whole numbers, so ties abound."""
    generator = torch.Generator().manual_seed(sum(shard.encode()))
    return [
        scale
        * torch.randint(-2, 3, (count, layer.units, layer.grid_h, layer.grid_w), generator=generator).float()
        for layer in LAYERS
    ]


def make_part(shards: dict[str, int], batch: int = 4, scale: float = 1) -> Part:
    """A part of these shards (name to number of images), as the index makes one."""
    collector = Accumulator(LAYERS, K, torch.device("cpu"))
    images, records = [], []
    for ordinal, (shard, count) in enumerate(sorted(shards.items())):
        outputs = activations(shard, count, scale)
        samples = [
            Sample(f"{shard}/{n}", "ab"[n % 2], n, 0, b"", shard=shard, image_id=image_id(ordinal, n))
            for n in range(count)
        ]
        for first in range(0, count, batch):
            chosen = slice(first, first + batch)
            collector.begin(samples[chosen])
            for index, output in enumerate(outputs):
                collector.watch(index, reduce_view(output[chosen], "max"))
            collector.end()
        collector.flush()
        records.append(ShardRecord(shard, 10 * count, count, 0))
        images += [
            {"image_id": each.image_id, "key": each.key, "shard": shard, "label": each.label}
            for each in samples
        ]
    images_table = pa.Table.from_pylist(images, PART_IMAGES)
    return Part(tuple(records), collector.finish(), images_table, ERRORS.empty_table())


def assert_same(first: Part, second: Part) -> None:
    assert first.shards == second.shards
    assert first.images.to_pylist() == second.images.to_pylist()
    assert_same_state(first.state, second.state)


def assert_same_state(first: UnitState, second: UnitState) -> None:
    for side in ("high", "low"):
        for field in ("score", "image_id", "position"):
            one, other = (getattr(getattr(state, side), field) for state in (first, second))
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(first.histogram, second.histogram)
    for field in ("low", "high", "active", "images"):
        np.testing.assert_array_equal(getattr(first.moments, field), getattr(second.moments, field))
    for field in ("mean", "m2"):
        np.testing.assert_allclose(
            getattr(first.moments, field), getattr(second.moments, field), rtol=1e-12, atol=1e-12
        )
    assert first.labels.labels == second.labels.labels
    np.testing.assert_array_equal(first.labels.images, second.labels.images)
    for one, other in (
        (first.labels.squares, second.labels.squares),
        *((first.labels.read(half), second.labels.read(half)) for half in (0, 1)),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    for field in ("hashes", "image_id", "peak", "position"):
        np.testing.assert_array_equal(getattr(first.sample, field), getattr(second.sample, field))


datasets = st.dictionaries(
    st.sampled_from([f"shard-{n}" for n in range(7)]), st.integers(1, 9), min_size=3, max_size=6
)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(datasets, st.randoms(use_true_random=False), st.integers(1, 9))
def test_merging_is_associative_commutative_and_independent_of_grouping_order_and_batch_size(
    shards: dict[str, int], random: object, batch: int
) -> None:
    names = list(shards)
    random.shuffle(names)  # type: ignore[attr-defined]
    one, two = sorted(random.sample(range(1, len(names)), 2))  # type: ignore[attr-defined]
    a, b, c = (
        make_part({name: shards[name] for name in group})
        for group in (names[:one], names[one:two], names[two:])
    )
    whole = make_part(shards, batch)
    assert_same(merge(merge(a, b), c), whole)
    assert_same(merge(a, merge(b, c)), whole)
    assert_same(merge(merge(c, a), b), whole)
    assert_same(merge(empty_part(UNITS, K), whole), whole)
    assert_same(merge(whole, empty_part(UNITS, K)), whole)
    assert_same(merge_parts([b, a, c, a, b], UNITS, K), whole)


def test_statistics_do_not_depend_on_the_size_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    shards = {"shard-0": 8, "shard-1": 12}
    whole = make_part(shards)
    monkeypatch.setattr(accumulator, "BLOCK_IMAGES", 4)
    for batch in (1, 2, 4):
        assert_same(make_part(shards, batch), whole)


def test_the_hash_of_an_image_never_changes() -> None:
    """Another one would draw another sample, and no part could be merged with those of before."""
    assert image_hash("train-0001.tar", 7) == 4965296227132247495
    assert image_hash("", 0) == 7556725741714545743


def test_a_shard_is_never_counted_twice() -> None:
    with pytest.raises(StoreError, match="shard-1 is in both"):
        merge(make_part({"shard-0": 3, "shard-1": 2}), make_part({"shard-1": 2}))


def test_a_committed_part_comes_back_as_it_was(tmp_path: Path) -> None:
    part = make_part({"shard-0": 7, "shard-3": 200})
    assert len(part.state.sample.hashes) == SAMPLE_SIZE
    commit = commit_part(tmp_path, part, "f" * 64)
    (listed,) = list_commits(tmp_path)
    assert listed == commit
    listed.verify()
    assert_same(listed.load(), part)
    np.testing.assert_array_equal(listed.load().state.moments.mean, part.state.moments.mean)
    assert listed.load(records=False).images.num_rows == 0


def test_errors_come_back_unless_they_are_left_out(tmp_path: Path) -> None:
    errors = pa.table([["shard-0"], ["k"], ["truncated"], ["ends early"]], ERRORS)
    commit = commit_part(tmp_path, replace(make_part({"shard-0": 3}), errors=errors), "f" * 64)
    assert commit.load().errors.to_pylist() == errors.to_pylist()
    assert commit.load(records=False).errors.num_rows == 0


def test_histograms_of_many_units_are_written_span_by_span(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = make_part({"shard-0": 9})
    monkeypatch.setattr(stats, "_UPDATED_UNITS", 2)
    found = commit_part(tmp_path, part, "f" * 64).load().state.histogram
    np.testing.assert_array_equal(found[:], part.state.histogram[:])


@pytest.mark.parametrize(
    ("each", "labels", "sample"),
    [(0, 1, 1), (1, 1, 1), (48, 3, 6), (63, 3, 7), (1 << 60, 100_000, 100_000)],
)
def test_row_groups_of_lists_over_all_units_have_as_many_rows_as_fit(
    each: int, labels: int, sample: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = make_part({"a.tar": 9})
    # Of each unit, a row of labels has 16 bytes, sums of two halves; one of the sample 8, a peak and a place.
    monkeypatch.setattr("pipeline.state.part_tables._GROUP_BYTES", each * len(part.state.histogram))
    tables = tables_of(part)
    assert tables["labels"].row_group_rows == labels
    assert tables["sample"].row_group_rows == sample


def test_the_same_work_has_the_same_name_and_bytes(tmp_path: Path) -> None:
    commits = [
        commit_part(tmp_path / place, make_part({"shard-0": 7, "shard-1": 2}), "f" * 64)
        for place in ("here", "there")
    ]
    assert commits[0].path.name == commits[1].path.name
    assert commits[0].tables == commits[1].tables


def test_without_its_commit_file_a_part_is_not_there(tmp_path: Path) -> None:
    commit = commit_part(tmp_path, make_part({"shard-0": 4}), "f" * 64)
    commit.path.unlink()
    (tmp_path / ".left.tmp").mkdir()
    assert list_commits(tmp_path) == ()
    assert not (tmp_path / ".left.tmp").exists()


@pytest.mark.parametrize("table", ["state", "histogram", "labels", "sample", "images", "errors"])
def test_a_changed_byte_is_noticed(tmp_path: Path, table: str) -> None:
    commit = commit_part(tmp_path, make_part({"shard-0": 4}), "f" * 64)
    path = commit.folder / f"{table}.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=f"{table}.parquet is missing or was changed"):
        commit.verify()


def test_a_damaged_commit_file_is_named(tmp_path: Path) -> None:
    commit = commit_part(tmp_path, make_part({"shard-0": 4}), "f" * 64)
    commit.path.write_text(json.dumps({"shards": 3}))
    with pytest.raises(StoreError, match="is not a commit file"):
        list_commits(tmp_path)


def test_a_full_disk_leaves_earlier_parts_intact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = commit_part(tmp_path, make_part({"shard-0": 4}), "f" * 64)

    def full(*arguments: object, **options: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.pq, "ParquetWriter", full)
    with pytest.raises(StoreError, match="No space left on device; files written earlier are intact"):
        commit_part(tmp_path, make_part({"shard-1": 4}), "f" * 64)
    assert list_commits(tmp_path) == (kept,)
    kept.verify()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([kept.folder.name, kept.path.name])


def commit_of(*names: str) -> Commit:
    shards = tuple(ShardRecord(name, 1, 1, 0) for name in names)
    return Commit(Path("/".join(names)), "f", shards, {}, 1, 1)


def test_disjoint_parts_are_chosen_and_what_is_lost_is_named() -> None:
    a, b, c, again = commit_of("0", "1"), commit_of("1", "2"), commit_of("3"), commit_of("0", "1")
    chosen, lost = choose_disjoint([b, c, a, again])
    assert [[shard.name for shard in commit.shards] for commit in chosen] == [["0", "1"], ["3"]]
    assert lost == ("2",)
    assert choose_disjoint([commit_of("1"), commit_of("0"), commit_of("1")])[1] == ()


def test_of_parts_that_share_shards_the_larger_is_chosen() -> None:
    parts = [commit_of("0"), commit_of("5"), commit_of("1"), commit_of("0", "1", "2"), commit_of("6", "7")]
    for ordered in (parts, parts[::-1]):
        chosen, lost = choose_disjoint(ordered)
        assert [[shard.name for shard in commit.shards] for commit in chosen] == [
            ["0", "1", "2"],
            ["5"],
            ["6", "7"],
        ]
        assert lost == ()
    assert [commit.shards[0].name for commit in choose_disjoint(parts[1:3] + parts[4:])[0]] == ["1", "5", "6"]


def test_strata_of_a_sample_hold_four_images_of_each_tenth() -> None:
    from pipeline.state.sample import PER_STRATUM, PeakSample, strata_rows

    peak = np.arange(SAMPLE_SIZE, dtype=np.float32)[:, None]
    sample = PeakSample(np.arange(SAMPLE_SIZE), np.arange(SAMPLE_SIZE), peak, np.zeros_like(peak, np.int32))
    edges = np.quantile(peak[:, 0], np.arange(1, 10) / 10).astype(np.float32)[None]
    unit, stratum, row = strata_rows(sample, edges)
    assert (unit == 0).all()
    assert np.bincount(stratum).tolist() == [PER_STRATUM] * 10
    for number in range(10):
        inside = peak[row[stratum == number], 0]
        low = edges[0, number - 1] if number else -np.inf
        high = edges[0, number] if number < 9 else np.inf
        assert ((low < inside) & (inside <= high)).all()
        assert (np.diff(inside) <= 0).all()


def test_buckets_survive_the_sparse_table(tmp_path: Path) -> None:
    part = make_part({"shard-0": 50})
    loaded = commit_part(tmp_path, part, "f" * 64).load().state
    assert loaded.histogram.shape == (UNITS, stats.BUCKETS)
    assert loaded.histogram.sum() == 50 * UNITS
