"""Tables of several judges: what each sees, and how far they agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from scipy.stats import rankdata

from bench.truth.answers import interval
from bench.truth.judges import is_independent
from bench.truth.tables import Row

CENTRINGS = ("own", "common")
"""The stricter one first."""


def comparison(rows: Sequence[Row]) -> str:
    """Compare several judges of the same explanations, in both centrings, as Markdown.

    Args:
        rows: of one layer or of all; one per judge and kind of explanation.
    """
    blocks = []
    for centring in CENTRINGS:
        blocks.append(f"{centring} - real 1, by judge\n\n{_gains(rows, centring)}")
        blocks.append(
            f"agreement, {centring}: equal answers in %, rank correlation over units\n\n"
            f"{_agreement(rows, centring)}"
        )
    return "\n\n".join(blocks)


def equal_answers(one: Row, other: Row, centring: str) -> float:
    """Compute the share of questions that two judges answer alike, 0..1; a tie equals only a tie."""
    pairs = [
        mine == theirs
        for here, there in zip(_answers(one, centring), _answers(other, centring), strict=True)
        for mine, theirs in zip(here, there, strict=True)
    ]
    return sum(pairs) / len(pairs)


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Compute Spearman's rank correlation; NaN if either sequence is constant."""
    ranks = [rankdata(each) for each in (one, other)]
    if any(np.ptp(each) == 0 for each in ranks):
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])


def seen_by_all(rows: Sequence[Row], centring: str) -> bool:
    """Decide whether every independent judge sees a gain: its interval lies above 0.

    Args:
        rows: one kind of explanation, one row per judge.
        centring: `own` or `common`.
    """
    gains = [interval(_gain(row, centring)) for row in rows if is_independent(row.judge)]
    return bool(gains) and all(mean - half > 0 for mean, half in gains)


def _gains(rows: Sequence[Row], centring: str) -> str:
    judges = list(dict.fromkeys(row.judge for row in rows))
    lines = [_line("explanation", *judges, "every independent judge"), _rule(len(judges) + 2)]
    for kind, here in _by_kind(rows):
        if kind == "real 1":
            continue
        cells = []
        for row in here:
            mean, half = interval(_gain(row, centring))
            cells.append(f"{100 * mean:+.1f} ± {100 * half:.1f}")
        lines.append(_line(kind, *cells, "yes" if seen_by_all(here, centring) else "no"))
    return "\n".join(lines)


def _agreement(rows: Sequence[Row], centring: str) -> str:
    kinds = list(_by_kind(rows))
    pairs = list(combinations(range(len(kinds[0][1])), 2))
    judges = [row.judge for row in kinds[0][1]]
    names = [f"{judges[one]} and {judges[other]}" for one, other in pairs]
    lines = [_line("explanation", *names), _rule(len(pairs) + 1)]
    for kind, here in kinds:
        cells = []
        for one, other in ((here[first], here[second]) for first, second in pairs):
            correlation = rank_correlation(
                getattr(one.told, centring),
                getattr(other.told, centring),
            )
            cells.append(f"{100 * equal_answers(one, other, centring):.0f}, {correlation:.2f}")
        lines.append(_line(kind, *cells))
    return "\n".join(lines)


def _by_kind(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    for kind in dict.fromkeys(row.explanation for row in rows):
        yield kind, [row for row in rows if row.explanation == kind]


def _gain(row: Row, centring: str) -> tuple[float, ...]:
    return row.own_gain if centring == "own" else row.common_gain


def _answers(row: Row, centring: str) -> tuple[tuple[float, ...], ...]:
    return row.told.own_answers if centring == "own" else row.told.common_answers


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(columns: int) -> str:
    return f"|{'---|' * columns}"
