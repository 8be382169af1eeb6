"""The top-k against a plain sort, with ties common."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.state import topk
from pipeline.state.topk import NO_IMAGE, Ranked, merge_ranked

SPECIAL = [0.0, -0.0, 1.0, -1.0, 6.0, 1e-38, -1e-38, 1e-45, 3.4e38, -3.4e38]

finite = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.sampled_from(SPECIAL)
tied = st.integers(-2, 2).map(float)


@given(st.lists(st.tuples(finite | tied, st.integers(0, 2**32 - 1)), min_size=1, max_size=30))
def test_keys_sort_as_score_then_lower_number(pairs: list[tuple[float, int]]) -> None:
    scores = torch.tensor([score for score, _ in pairs], dtype=torch.float32)
    numbers = torch.tensor([number for _, number in pairs])
    keys = topk.pack(scores, numbers)
    by_key = sorted(range(len(pairs)), key=lambda i: -int(keys[i]))
    by_rule = sorted(range(len(pairs)), key=lambda i: (-float(scores[i]), pairs[i][1]))
    assert [pairs[i] for i in by_key] == [pairs[i] for i in by_rule]
    back, numbers_back = topk.unpack(keys)
    assert torch.equal(back, scores + 0.0)
    assert torch.equal(numbers_back, numbers)


def test_an_empty_slot_is_below_everything_and_unpacks_as_nothing() -> None:
    lowest = topk.pack(torch.tensor([-torch.inf, -3.4e38]), torch.tensor([2**32 - 1, 0]))
    assert (lowest > topk.EMPTY_KEY).all()
    score, number = topk.unpack(torch.tensor([topk.EMPTY_KEY]))
    assert float(score) == -np.inf
    assert int(number) == -1


@settings(deadline=None)
@given(
    st.integers(1, 5),
    st.lists(st.integers(1, 7), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_streamed_batches_give_the_sorted_list(k: int, sizes: list[int], random: object) -> None:
    seed = random.randint(0, 2**31)  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(seed)
    units, total = 4, sum(sizes)
    # Negative values too: a unit that never fires has a top list like any other.
    scores = torch.randint(-3, 2, (total, units), generator=generator).float()
    keys, floor, first = topk.empty_keys(units, k), torch.full((units,), -torch.inf), 0
    for size in sizes:
        numbers = torch.arange(first, first + size)
        changed, rows, origin = topk.entrants(keys, floor, scores[first : first + size], numbers)
        keys[changed] = rows
        floor[changed] = topk.unpack(rows[:, -1])[0]
        fresh = origin[rows != topk.EMPTY_KEY]
        assert ((fresh < k) | (fresh - k < size)).all()
        first += size
    for unit in range(units):
        order = sorted(range(total), key=lambda i: (-float(scores[i, unit]), i))[:k]
        _, numbers = topk.unpack(keys[unit])
        assert numbers.tolist() == order + [-1] * (k - len(order))


def test_a_batch_that_changes_nothing_touches_no_unit() -> None:
    keys = topk.pack(torch.tensor([[6.0, 5.0]]), torch.tensor([[0, 1]]))
    floor, scores = torch.tensor([5.0]), torch.tensor([[5.0], [4.0]])
    changed, _, _ = topk.entrants(keys, floor, scores, torch.tensor([2, 3]))
    assert changed.tolist() == []


def ranked(score: np.ndarray, ids: np.ndarray) -> Ranked:
    """The sorted list of one unit, padded to three slots."""
    order = np.lexsort((ids, -score))[:3]
    pad = 3 - len(order)
    return Ranked(
        np.pad(score[order], (0, pad), constant_values=-np.inf)[None],
        np.pad(ids[order], (0, pad), constant_values=NO_IMAGE)[None],
        np.pad(ids[order] % 7, (0, pad))[None].astype(np.int32),
    )


def same(first: Ranked, second: Ranked) -> bool:
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("score", "image_id", "position")
    )


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
@given(arrays(np.int8, st.integers(0, 12), elements=st.integers(-2, 2)), st.integers(0, 2**31))
def test_merging_lists_is_associative_commutative_and_has_an_identity(values: np.ndarray, seed: int) -> None:
    owner = np.random.default_rng(seed).integers(0, 3, len(values))
    ids = np.arange(len(values), dtype=np.int64)
    a, b, c = (ranked(values[owner == part].astype(np.float32), ids[owner == part]) for part in range(3))
    whole = ranked(values.astype(np.float32), ids)
    assert same(merge_ranked(merge_ranked(a, b), c), whole)
    assert same(merge_ranked(a, merge_ranked(b, c)), whole)
    assert same(merge_ranked(merge_ranked(c, b), a), whole)
    assert same(merge_ranked(whole, Ranked.empty(1, 3)), whole)
    assert same(merge_ranked(Ranked.empty(1, 3), whole), whole)


def test_a_list_of_no_images_has_empty_slots() -> None:
    none = Ranked.empty(2, 3)
    assert none.score.dtype == np.float32
    assert none.image_id.dtype == np.int64
    assert none.position.dtype == np.int32
    assert same(none, Ranked(*(np.full((2, 3), value) for value in (-np.inf, NO_IMAGE, 0))))


def test_slots_that_are_not_kept_are_empty() -> None:
    whole = Ranked(
        np.array([[3.0, 2.0, 1.0], [6.0, 5.0, 4.0]], np.float32),
        np.array([[7, 8, 9], [1, 2, 3]]),
        np.array([[1, 2, 3], [4, 5, 6]], np.int32),
    )
    kept = whole.filtered(np.array([[True, True, False], [False, False, False]]))
    assert kept.score.tolist() == [[3.0, 2.0, -np.inf], [-np.inf] * 3]
    assert kept.image_id.tolist() == [[7, 8, NO_IMAGE], [NO_IMAGE] * 3]
    assert kept.position.tolist() == [[1, 2, 0], [0, 0, 0]]
    assert [kept.score.dtype, kept.image_id.dtype, kept.position.dtype] == [np.float32, np.int64, np.int32]
