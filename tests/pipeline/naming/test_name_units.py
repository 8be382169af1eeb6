"""Names of units: correlations against all peaks, greedy terms against least squares, and shuffled labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.naming.concepts import Concepts, label_concepts
from pipeline.naming.correlation import concept_counts, correlations, peak_sums
from pipeline.naming.greedy import MAX_TERMS
from pipeline.naming.label_sets import LabelSets
from pipeline.naming.name_units import UnitNames, least_correlation, name_units
from pipeline.state.label_sums import LabelSums

LABELS = tuple("abcdefgh")


def random_concepts(rng: np.random.Generator, sets: int = 6) -> Concepts:
    """The labels, and random sets of them."""
    own = label_concepts(LABELS)
    drawn = rng.random((sets, len(LABELS))) < 0.4
    names = (*own.names, *(f"set {n}" for n in range(sets)))
    members = LabelSets.of_matrix(np.vstack([own.members.matrix(), drawn]))
    return Concepts(names, (*own.sources, *(["hierarchy"] * sets)), members)


def sums_over(peaks: np.ndarray, label: np.ndarray, half: np.ndarray, labels: int = len(LABELS)) -> LabelSums:
    wide = peaks.astype(np.float64)
    images = np.zeros((2, labels), np.int64)
    total = np.zeros((2, labels, peaks.shape[1]))
    np.add.at(images, (half, label), 1)
    np.add.at(total, (half, label), wide)
    squares = np.stack([(wide[half == number] ** 2).sum(0) for number in (0, 1)])
    return LabelSums(tuple(map(str, range(labels))), images, total, squares)


def all_names(sums: LabelSums, concepts: Concepts) -> UnitNames:
    found = list(name_units(sums, concepts))
    fields = ("unit", "rank", "concept", "correlation", "held_out", "combined", "images", "weight")
    return UnitNames(
        found[-1].units, *(np.concatenate([getattr(each, field) for each in found]) for field in fields)
    )


def dataset(
    seed: int, images: int = 400, units: int = 5, *, integers: bool = False
) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, len(LABELS), images)
    peaks = rng.normal(size=(images, units)) * 3
    peaks += np.eye(len(LABELS))[label] @ (rng.random((len(LABELS), units)) * 4)
    peaks = np.round(peaks) if integers else peaks
    return peaks.astype(np.float32), label, rng.integers(0, 2, images)


def pearson(peaks: list[float], inside: list[bool]) -> float:
    """By the formula, with exact sums of all peaks."""
    images, own = len(peaks), sum(inside)
    total, squares = math.fsum(peaks), math.fsum(value * value for value in peaks)
    part = math.fsum(value for value, member in zip(peaks, inside, strict=True) if member)
    return (images * part - own * total) / math.sqrt((images * squares - total**2) * (own * (images - own)))


def test_correlations_of_integer_peaks_are_those_of_the_whole_matrix_bit_for_bit() -> None:
    peaks, label, half = dataset(1, integers=True)
    concepts = random_concepts(np.random.default_rng(2))
    sums = sums_over(peaks, label, half)
    counts = concept_counts(concepts, sums.images[1])
    found = peak_sums(concepts, sums, counts, 1, slice(0, 5))
    r = correlations(found.covariance, found.variance, counts.gram.diagonal()[:, None])
    rows = half == 1
    for row, members in enumerate(concepts.members.matrix()):
        inside = members[label[rows]].tolist()
        if 0 < sum(inside) < len(inside):
            for unit in range(5):
                assert r[row, unit] == pearson([float(v) for v in peaks[rows, unit]], inside)


def test_correlations_are_those_of_numpy() -> None:
    peaks, label, half = dataset(3)
    concepts = random_concepts(np.random.default_rng(4))
    names = all_names(sums_over(peaks, label, half), concepts)
    assert len(names.unit)
    for row in range(len(names.unit)):
        inside = concepts.members.matrix()[names.concept[row]][label]
        column = peaks[:, names.unit[row]].astype(np.float64)
        assert names.images[row] == inside.sum()
        assert names.correlation[row] == pytest.approx(np.corrcoef(column, inside)[0, 1], abs=1e-12)
        kept = half == 1
        expected = np.corrcoef(column[kept], inside[kept])[0, 1]
        assert names.held_out[row] == pytest.approx(expected, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_terms_are_those_of_least_squares_on_the_whole_matrix(seed: int) -> None:
    peaks, label, half = dataset(seed)
    concepts = random_concepts(np.random.default_rng(seed))
    names = all_names(sums_over(peaks, label, half), concepts)
    chooses, judges = half == 0, half == 1
    for unit in np.unique(names.unit):
        rows = (names.unit == unit).nonzero()[0]
        assert names.rank[rows].tolist() == list(range(1, len(rows) + 1))
        assert len(rows) <= MAX_TERMS
        assert (names.weight[rows] > 0).all()
        column = peaks[:, unit].astype(np.float64)
        columns = concepts.members.matrix()[names.concept[rows]][:, label].T.astype(np.float64)
        for used in range(1, len(rows) + 1):
            x = np.column_stack([columns[:, :used], np.ones(len(label))])
            solved = np.linalg.lstsq(x[chooses], column[chooses], rcond=None)[0]
            expected = np.corrcoef(x[judges] @ solved, column[judges])[0, 1]
            assert names.combined[rows[used - 1]] == pytest.approx(expected, abs=1e-9)
        np.testing.assert_allclose(names.weight[rows], solved[:-1], rtol=1e-7)


def test_the_first_concept_has_the_highest_correlation_of_the_choosing_half() -> None:
    peaks, label, half = dataset(5, units=40)
    concepts = random_concepts(np.random.default_rng(6))
    names = all_names(sums_over(peaks, label, half), concepts)
    chooses = half == 0
    for row in (names.rank == 1).nonzero()[0]:
        column = peaks[chooses, names.unit[row]]
        each = [np.corrcoef(column, members[label[chooses]])[0, 1] for members in concepts.members.matrix()]
        assert each[names.concept[row]] == pytest.approx(max(each), abs=1e-9)


def test_a_unit_that_shows_two_labels_gets_both() -> None:
    rng = np.random.default_rng(7)
    label, half = rng.integers(0, 8, 1000), rng.integers(0, 2, 1000)
    peaks = (3.0 * (label == 2) + 2.0 * (label == 5) + rng.normal(size=1000) * 0.1).astype(np.float32)
    names = all_names(sums_over(peaks[:, None], label, half), label_concepts(LABELS))
    assert names.concept.tolist() == [2, 5]
    np.testing.assert_allclose(names.weight, [3, 2], atol=0.05)
    assert names.combined[1] > 0.99 > names.combined[0]


def test_shuffled_labels_name_nothing() -> None:
    """2,000 units with heavy tails, as rectified units have, and hundreds of sets to choose from."""
    rng = np.random.default_rng(8)
    images, units, labels = 1200, 2000, 60
    label, half = rng.integers(0, labels, images), rng.integers(0, 2, images)
    peaks = np.maximum(rng.standard_t(3, (images, units)), 0).astype(np.float32)
    members = np.vstack([np.eye(labels, dtype=bool), rng.random((300, labels)) < 0.2])
    names = tuple(map(str, range(len(members))))
    concepts = Concepts(names, ("label",) * len(names), LabelSets.of_matrix(members))
    sums = sums_over(peaks, label, half, labels)
    assert len(all_names(sums, concepts).unit) <= units * 0.002


@pytest.mark.parametrize("value", [0.0, 7.25, -1e4])
def test_a_unit_that_never_varies_has_no_name(value: float) -> None:
    _, label, half = dataset(9)
    peaks = np.full((400, 2), value, np.float32)
    names = all_names(sums_over(peaks, label, half), label_concepts(LABELS))
    assert not len(names.unit)


def test_concepts_with_few_images_are_never_names() -> None:
    label, half = np.array([0] * 8 + [1] * 200), np.arange(208) % 2
    peaks = (label == 0).astype(np.float32)[:, None]
    assert not len(list(name_units(sums_over(peaks, label, half, 2), label_concepts(("a", "b")))))


def test_least_correlation() -> None:
    assert least_correlation(1) == math.inf
    assert least_correlation(101) == pytest.approx(0.4)
    assert least_correlation(10_000_000) == pytest.approx(0.1)
