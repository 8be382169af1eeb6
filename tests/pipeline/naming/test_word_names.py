"""Words for units of a layer whose images are known, and none where images are shuffled."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.naming.linear import pearson
from pipeline.naming.word_names import LayerSample, WordName, name_layer

SEEDS = st.integers(0, 2**32 - 1)
WORDS = 6
LISTED, OTHERS = 40, 40


def build(seed: int, units: int = 6) -> tuple[LayerSample, np.ndarray, np.ndarray]:
    """A layer whose unit n responds to images that are near word n."""
    rng = np.random.default_rng(seed)
    words = np.linalg.qr(rng.normal(size=(16, WORDS)))[0].T
    each = LISTED + OTHERS
    shows = np.concatenate(
        [np.r_[np.full(LISTED, unit), rng.integers(0, WORDS, OTHERS)] for unit in range(units)]
    )
    embeddings = words[shows % WORDS] + rng.normal(size=(units * each, 16)) * 0.15
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    rank = np.tile(np.r_[np.arange(1, LISTED + 1), np.zeros(OTHERS)], units).astype(np.int64)
    strength = np.tile(np.r_[np.linspace(9, 5, LISTED), rng.uniform(0, 5, OTHERS)], units)
    entries = np.arange(units * each)
    sample = LayerSample(
        units, np.repeat(np.arange(units), each), entries, rank, strength, entries % 2, entries
    )
    return sample, embeddings.astype(np.float32), words.astype(np.float32)


def names(found: list[WordName], source: str) -> dict[int, list[int]]:
    chosen: dict[int, list[int]] = {}
    for name in found:
        if name.source == source:
            chosen.setdefault(name.unit, []).append(name.word)
    return chosen


def test_units_get_the_words_that_they_are_made_for() -> None:
    sample, embeddings, words = build(0)
    found = list(name_layer(sample, embeddings, words))
    for source in ("words", "linear"):
        assert {unit: chosen[0] for unit, chosen in names(found, source).items()} == {n: n for n in range(6)}
    for name in found:
        rows = sample.of_unit(name.unit)
        judges = sample.half[rows] == 1
        scores = embeddings[sample.patch[rows]].astype(float) @ words[name.word].astype(float)
        peaks = sample.peak[rows]
        assert name.images == LISTED + OTHERS
        np.testing.assert_allclose(name.correlation, np.corrcoef(scores, peaks)[0, 1], rtol=1e-5)
        expected = np.corrcoef(scores[judges], peaks[judges])[0, 1]
        np.testing.assert_allclose(name.held_out, expected, rtol=1e-5)
        assert (name.combined is None) == (name.weight is None) == (name.source == "words")


@settings(max_examples=20)
@given(SEEDS)
def test_the_order_of_entries_and_of_patches_is_of_no_account(seed: int) -> None:
    sample, embeddings, words = build(seed % 50, units=3)
    before = list(name_layer(sample, embeddings, words))
    rng = np.random.default_rng(seed)
    # Entries stay sorted by unit; patches lie anywhere in the table.
    order = np.concatenate([unit * 80 + rng.permutation(80) for unit in range(3)])
    places = rng.permutation(len(embeddings))
    moved = np.empty_like(embeddings)
    moved[places] = embeddings
    again = LayerSample(
        3,
        sample.unit[order],
        places[sample.patch[order]],
        sample.rank[order],
        sample.peak[order],
        sample.half[order],
        sample.photograph[order],
    )
    after = list(name_layer(again, moved, words))
    assert [(n.unit, n.source, n.word) for n in after] == [(n.unit, n.source, n.word) for n in before]
    np.testing.assert_allclose([n.held_out for n in after], [n.held_out for n in before], rtol=1e-5)


def test_shuffled_images_give_hardly_any_words() -> None:
    sample, embeddings, words = build(1, units=300)
    shuffled = embeddings[np.random.default_rng(2).permutation(len(embeddings))]
    found = list(name_layer(sample, shuffled, words))
    assert len(names(found, "words")) <= 3
    assert len(names(found, "linear")) <= 3


def test_crops_of_one_photograph_are_one_witness() -> None:
    """The same correlations of a few photographs name nothing."""
    sample, embeddings, words = build(0)
    few = LayerSample(
        sample.units, sample.unit, sample.patch, sample.rank, sample.peak, sample.half, sample.photograph % 8
    )
    assert list(name_layer(few, embeddings, words)) == []


def test_units_with_few_images_and_constant_units_have_no_words() -> None:
    sample, embeddings, words = build(0, units=2)
    lonely = sample.rank.copy()
    lonely[:80][lonely[:80] > 8] = 0
    flat = sample.peak.copy()
    flat[80:] = 1.0
    changed = LayerSample(3, sample.unit, sample.patch, lonely, flat, sample.half, sample.photograph)
    found = list(name_layer(changed, embeddings, words))
    assert {(name.unit, name.source) for name in found} == {(0, "linear")}
    assert (pearson(embeddings[80:].astype(float), flat[80:]) == 0).all()
