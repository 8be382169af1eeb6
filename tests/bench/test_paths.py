"""bench.paths: the bound of a rate, and a folder that is no index."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from bench.fooled import read_draws
from bench.paths import highest_rate, main


def test_the_bound_without_events_is_the_rule_of_three() -> None:
    assert highest_rate(0, 59) == pytest.approx(1 - 0.05 ** (1 / 59), abs=1e-5)
    assert highest_rate(0, 59) < 0.05 < highest_rate(0, 58)
    assert highest_rate(2, 20) == pytest.approx(0.2826, abs=1e-3)  # Clopper and Pearson's table
    assert highest_rate(7, 7) == pytest.approx(1, abs=1e-5)


def test_a_folder_that_is_no_index_gives_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.paths", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("text", "draws"), [("3", [3]), ("0-2", [0, 1, 2]), ("5-5", [5])])
def test_draws_are_a_number_or_a_range(text: str, draws: list[int]) -> None:
    assert list(read_draws(text)) == draws


@pytest.mark.parametrize("text", ["", "x", "3-1", "-1", "1-", "1-2-3"])
def test_draws_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a number or a range such as 0-3"):
        read_draws(text)
