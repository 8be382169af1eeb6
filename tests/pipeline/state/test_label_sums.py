"""Sums per label: against all peaks, merged in any grouping, and the halves of images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.shard import Sample
from pipeline.errors import StoreError
from pipeline.image_id import image_id
from pipeline.layers.layer import Layer
from pipeline.state.label_sums import LabelSums, StoredTotals, half_by, half_of, selectivity
from pipeline.state.part_blocks import LabelTable
from pipeline.state.part_tables import read_part, tables_of
from pipeline.store.rows import Rows
from pipeline.store.tables import write_table
from pipeline.stream.accumulator import Accumulator
from pipeline.stream.label_totals import LabelTotals
from tests.fixtures.whole_parts import empty_part, merge_labels


def sums_of(peaks: np.ndarray, labels: list[str], halves: list[int] | None = None) -> LabelSums:
    """The sums by their definition."""
    names = sorted(set(labels))
    half = np.array(halves or [0] * len(labels))
    wide = peaks.astype(np.float64)
    rows = [
        [np.array([label == name for label in labels]) & (half == number) for name in names]
        for number in (0, 1)
    ]
    return LabelSums(
        tuple(names),
        np.array([[row.sum() for row in side] for side in rows], np.int64).reshape(2, len(names)),
        np.array([[wide[row].sum(0) for row in side] for side in rows]).reshape(
            2, len(names), peaks.shape[1]
        ),
        np.array([(wide[half == number] ** 2).sum(0) for number in (0, 1)]),
    )


def assert_equal(found: LabelSums, expected: LabelSums) -> None:
    assert found.labels == expected.labels
    for field in ("images", "squares"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
    for half in (0, 1):
        np.testing.assert_array_equal(found.read(half), expected.read(half))


@given(st.data())
def test_sums_of_integers_merge_exactly_in_any_order_and_grouping(data: st.DataObject) -> None:
    images = data.draw(st.integers(1, 40))
    drawn = np.random.default_rng(data.draw(st.integers(0, 999)))
    peaks = drawn.integers(-9, 9, (images, 3)).astype(np.float32)
    labels = list(drawn.choice(["ant", "bee", "cat"], images))
    halves = list(drawn.integers(0, 2, images))
    groups = data.draw(st.permutations(np.array_split(np.arange(images), data.draw(st.integers(1, 6)))))
    merged = LabelSums.empty(3)
    for rows in groups:
        part = sums_of(peaks[rows], [labels[i] for i in rows], [halves[i] for i in rows])
        merged = merge_labels(part, merged) if len(rows) % 2 else merge_labels(merged, part)
    assert_equal(merged, sums_of(peaks, labels, halves))


def test_empty_is_the_identity() -> None:
    none = LabelSums.empty(2)
    assert [none.images.shape, none.read(0).shape, none.squares.shape] == [(2, 0), (0, 2), (2, 2)]
    assert (none.units, len(none.label_images)) == (2, 0)
    some = sums_of(np.ones((3, 2), np.float32), ["a", "b", "a"], [0, 1, 1])
    assert_equal(merge_labels(LabelSums.empty(2), some), some)
    assert_equal(merge_labels(some, LabelSums.empty(2)), some)


def test_the_accumulator_adds_up_every_labelled_image() -> None:
    rng = np.random.default_rng(4)
    peaks = rng.integers(-50, 50, (90, 5)).astype(np.float32)
    labels = [None if n % 7 == 0 else "abc"[n % 3] for n in range(90)]
    samples = [
        Sample(
            f"{n}", labels[n], n, 0, b"", shard="s", digest=int(rng.integers(0, 99)), image_id=image_id(0, n)
        )
        for n in range(90)
    ]
    layer = Layer("fc", 0, "vector", 5, 0, 0, 0, 1, 1, 1, 1, 0, 0)
    watch = Accumulator([layer], 4, torch.device("cpu"))

    class Given:
        first_unit = 0

        def __init__(self, values: torch.Tensor) -> None:
            self.values = values

        def first(self, _: int) -> Given:
            return self

        def locate(self, images: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(units), dtype=torch.int64)

    for start in range(0, 90, 30):
        watch.begin(samples[start : start + 30])
        watch.watch(0, Given(torch.from_numpy(peaks[start : start + 30])))  # type: ignore[arg-type]
        watch.end()
    rows = [n for n in range(90) if labels[n] is not None]
    halves = [samples[n].digest & 1 for n in rows]
    assert_equal(watch.finish().labels, sums_of(peaks[rows], [str(labels[n]) for n in rows], halves))


def test_copies_and_crops_of_a_photograph_are_in_one_half() -> None:
    copies = [Sample(key, "a", 0, 0, b"", digest=-77) for key in ("x", "y")]
    assert len({half_of(copy) for copy in copies}) == 1
    for name in "abcdefgh":
        crops = [Sample(str(n), "a", n, 0, b"", origin=name, digest=n) for n in range(6)]
        assert len({half_of(crop) for crop in crops}) == 1
    assert {half_of(Sample("k", None, 0, 0, b"", digest=n)) for n in (-1, 2)} == {0, 1}
    # Sums on disk were divided by it, so it is the same in every version.
    assert [half_by(name, 0) for name in "abcdefgh"] == [0, 1, 1, 0, 0, 0, 0, 1]


def test_selectivity_is_that_of_the_paper() -> None:
    #               ant  bee  cat
    peaks = np.array([[4.0, 1.0, 1.0], [2.0, 2.0, 2.0], [0.0, 0.0, 5.0], [-3.0, -2.0, -1.0]])
    labels = ["ant", "bee", "cat"]
    sums = sums_of(peaks.T.astype(np.float32), labels, [0, 1, 0])
    index, best = selectivity(sums.means(), peaks.min(1).astype(np.float32))
    # Unit 0: (4 - 1) / (4 + 1). Unit 3, shifted by its minimum: means 0, 1, 2, so (2 - .5) / 2.5.
    np.testing.assert_allclose(index, [0.6, 0.0, 1.0, 0.6], rtol=1e-6)
    assert [labels[row] for row in best] == ["ant", "ant", "cat", "cat"]


def test_selectivity_of_two_labels_and_of_a_unit_that_is_0() -> None:
    means = np.array([[3.0, 0.0], [1.0, 0.0]])
    index, best = selectivity(means, np.zeros(2, np.float32))
    np.testing.assert_array_equal(index, np.array([0.5, 0], np.float32))
    assert best[0] == 0


def test_selectivity_of_two_labels_with_small_peaks() -> None:
    index, best = selectivity(np.array([[0.1, 0.25], [0.3, 0.0]]), np.zeros(2, np.float32))
    np.testing.assert_allclose(index, [0.5, 1.0], rtol=1e-6)
    assert best.tolist() == [1, 0]


def test_sums_under_other_names_are_sorted_by_these(tmp_path: Path) -> None:
    peaks = np.arange(12, dtype=np.float32).reshape(6, 2)
    sums = sums_of(peaks, list("abcabc"), [0, 1, 0, 1, 1, 0])
    names = {"a": "zebra", "b": "ant", "c": "moth"}
    expected = sums_of(peaks, [names[label] for label in "abcabc"], [0, 1, 0, 1, 1, 0])
    assert isinstance(sums.total, np.ndarray)
    with Rows(tmp_path, 2) as rows:
        rows.grow(6)
        rows.write(np.arange(6), sums.total.reshape(6, 2))
        stored = replace(sums, total=StoredTotals(rows, np.arange(6).reshape(2, 3)))
        for each in (sums, stored):
            assert_equal(each.renamed(names), expected)
            np.testing.assert_array_equal(each.renamed(names).label_images, [2, 2, 2])


def test_selectivity_needs_two_labels() -> None:
    index, _ = selectivity(sums_of(np.ones((3, 2), np.float32), ["a"] * 3).means(), np.zeros(2, np.float32))
    assert np.isnan(index).all()


def test_a_part_of_an_earlier_version_is_refused_in_one_line(tmp_path: Path) -> None:
    part = empty_part(3, 2)
    for name, table in tables_of(part).items():
        schema = pa.schema([table.schema.field("label")]) if name == "labels" else table.schema
        batches = [] if name == "labels" else table.batches
        write_table(tmp_path / f"{name}.parquet", schema, batches)
    for read in (lambda: read_part(tmp_path, (), 3, 2), lambda: LabelTable(tmp_path, 3)):
        with pytest.raises(StoreError, match=r"earlier version.*--fresh"):
            read()


@pytest.mark.parametrize("memory", [0, 1 << 20])
def test_sums_are_the_same_bits_in_memory_and_in_a_file(tmp_path: Path, memory: int) -> None:
    rng = np.random.default_rng(1)
    peaks = torch.from_numpy(rng.normal(size=(60, 7)).astype(np.float32))
    samples = [
        Sample(f"{n}", f"label {n % 11}", n, 0, b"", digest=int(rng.integers(0, 99))) for n in range(60)
    ]
    expected = torch.zeros((2, 11, 7), dtype=torch.float64)
    labels = sorted({str(sample.label) for sample in samples})
    for number, sample in enumerate(samples):
        expected[half_of(sample), labels.index(str(sample.label))] += peaks[number].double()
    totals = LabelTotals(7, torch.device("cpu"), tmp_path, memory=memory)
    for first in range(0, 60, 20):
        totals.add(samples[first : first + 20], peaks[first : first + 20])
    sums = totals.sums()
    assert sums.labels == tuple(labels)
    for half in (0, 1):
        np.testing.assert_array_equal(sums.read(half), expected[half].numpy())
        np.testing.assert_array_equal(
            sums.read(half, slice(2, 5), labels=slice(3, 9)), expected[half, 3:9, 2:5].numpy()
        )
    renamed = sums.renamed({label: f"{9 - int(label[6:]) % 10}{label}" for label in labels})
    assert renamed.labels == tuple(sorted(renamed.labels))
    for row, name in enumerate(renamed.labels):
        for half in (0, 1):
            np.testing.assert_array_equal(
                renamed.read(half)[row], expected[half, labels.index(name[1:])].numpy()
            )


def test_renamed_sums_are_those_of_the_new_names() -> None:
    peaks = np.arange(10, dtype=np.float32).reshape(5, 2)
    names = {"a": "z", "b": "y", "c": "a"}
    found = sums_of(peaks, list("abcab"), [0, 1, 1, 1, 0]).renamed(names)
    assert_equal(found, sums_of(peaks, [names[label] for label in "abcab"], [0, 1, 1, 1, 0]))
