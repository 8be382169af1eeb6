from __future__ import annotations

import pytest

from pipeline.assignments import parse_assignments
from pipeline.errors import UsageError


def test_settings_are_pairs_each_once() -> None:
    found = parse_assignments(["steps=3", "a=1", "b=x=y", " c = d e "], "--set")
    assert found == {"steps": "3", "a": "1", "b": "x=y", "c": "d e"}
    assert list(found) == ["steps", "a", "b", "c"]


@pytest.mark.parametrize("word", ["a", "", "=1", " =1"])
def test_a_word_that_is_no_pair_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match=f"--set takes KEY=VALUE, got '{word}'"):
        parse_assignments([word], "--set")


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="--set: steps is given twice, as '3' and '4'"):
        parse_assignments(["steps=3", "steps=4"], "--set")
