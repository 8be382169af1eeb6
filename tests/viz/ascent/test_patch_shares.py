"""Shares of patches: powers of their scores, of sum 1."""

from __future__ import annotations

import pytest
import torch

from viz.ascent.moments import Moments
from viz.ascent.patch_shares import patch_shares
from viz.ascent.sorted_features import SortedFeatures


def test_a_patch_counts_by_a_power_of_its_score() -> None:
    assert patch_shares(torch.tensor([4.0, 2.0, 1.0]), 2).tolist() == pytest.approx([16 / 21, 4 / 21, 1 / 21])
    assert patch_shares(torch.tensor([3.0, 1.0, 2.0]), 0).tolist() == pytest.approx([1 / 3] * 3)


def test_shares_do_not_depend_on_the_unit_of_the_scores() -> None:
    scores = torch.tensor([1e-3, 5e-4, 7e-4])
    assert torch.allclose(patch_shares(scores, 3), patch_shares(1e6 * scores, 3))


def test_patches_below_the_usual_score_do_not_count() -> None:
    assert patch_shares(torch.tensor([2.0, -1.0, 2.0]), 1).tolist() == [0.5, 0, 0.5]


@pytest.mark.parametrize("scores", [[-1.0, -3.0], [0.0, 0.0], [0.0, -2.0]])
def test_all_count_alike_where_none_is_above(scores) -> None:
    assert patch_shares(torch.tensor(scores), 2).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("kind", [Moments, SortedFeatures])
def test_equal_shares_change_nothing_and_one_share_is_that_patch_alone(kind) -> None:
    values = torch.randn((3, 4, 5, 5), generator=torch.Generator().manual_seed(0))
    weight = torch.full((5, 5), 1 / 25)
    found, norm = kind.of(values, weight), kind.of(values.flip(1), weight).average()

    def tensors(features):
        return [getattr(features, name) for name in kind.__dataclass_fields__]

    def same(one, other):
        return all(
            torch.allclose(*pair, atol=1e-6) for pair in zip(tensors(one), tensors(other), strict=True)
        )

    assert same(found.beyond(norm, 2, torch.full((3,), 1 / 3)), found.beyond(norm, 2))
    alone = kind.of(values[1:2], weight)
    assert same(found.beyond(norm, 2, torch.tensor([0.0, 1.0, 0.0])), alone.beyond(norm, 2))
    assert torch.allclose(kind.of(values, weight).mean, values.mean((2, 3)), atol=0.2)
