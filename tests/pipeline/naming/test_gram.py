"""Many labels: sets and counts in the form of many are those of matrices, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.naming import correlation, label_sets, name_units
from pipeline.naming.concepts import Concepts
from pipeline.naming.gram import DenseGram, SetGram
from pipeline.naming.label_sets import LabelSets
from tests.pipeline.naming.test_name_units import all_names, dataset, random_concepts, sums_over


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 20), st.integers(0, 1 << 20))
def test_sets_are_those_of_the_matrix(labels: int, sets: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.random((sets, labels)) < rng.random()
    found = LabelSets.of_matrix(matrix)
    assert len(found) == sets
    assert np.array_equal(found.matrix(), matrix)
    assert np.array_equal(LabelSets.of((row.nonzero()[0] for row in matrix), labels).member, found.member)
    rows = rng.integers(0, sets, 5)
    assert np.array_equal(found.transposed().matrix(), matrix.T)
    assert np.array_equal(found.chosen(rows).matrix(), matrix[rows])
    values = rng.integers(-9, 9, (labels, 3))
    assert np.array_equal(found.totals(values), matrix.astype(np.int64) @ values)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 20), st.integers(0, 1 << 20))
def test_entries_that_are_asked_for_are_those_of_all_pairs(labels: int, sets: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.random((sets, labels)) < 0.5
    counts = rng.integers(0, 1 << 24, labels)
    concepts = Concepts(tuple(map(str, range(sets))), ("label",) * sets, LabelSets.of_matrix(matrix))
    dense = correlation.concept_counts(concepts, counts)
    assert isinstance(dense.gram, DenseGram)
    sparse = SetGram(concepts.members, concepts.members.transposed(), counts, dense.images, dense.own)
    assert np.array_equal(sparse.diagonal(), dense.gram.diagonal())
    rows = rng.integers(0, sets, 7)
    assert np.array_equal(sparse.rows(rows), dense.gram.rows(rows))
    first, second = rng.integers(0, sets, (4, 3, 1)), rng.integers(0, sets, (4, 1, 3))
    assert np.array_equal(sparse.pairs(first, second), dense.gram.pairs(first, second))


@pytest.mark.parametrize("seed", range(4))
def test_names_do_not_depend_on_the_form(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    peaks, label, half = dataset(seed, units=40, integers=True)
    concepts = random_concepts(np.random.default_rng(seed), sets=12)
    sums = sums_over(peaks, label, half)
    wanted = all_names(sums, concepts)
    assert len(wanted.unit)
    monkeypatch.setattr(correlation, "_MATRIX_BYTES", 0)
    monkeypatch.setattr(label_sets, "_GATHERED_BYTES", 64)
    monkeypatch.setattr(name_units, "_SPAN_NUMBERS", 60)
    found = all_names(sums, concepts)
    for field in ("unit", "rank", "concept", "correlation", "held_out", "combined", "images", "weight"):
        assert np.array_equal(getattr(found, field), getattr(wanted, field)), field
