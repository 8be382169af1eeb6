"""Which photographs are asked about: those at the ends of a unit's two lists.

People (`maxact study`) and networks (`python -m bench.truth`) are asked the same questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.query.index import TopImage
from viz.study.patches import Patches

__all__ = ["ASKED", "MOST", "Questions", "choose_questions"]

ASKED = 6
"""Top images, and lowest images, in the questions about a unit: each of one kind can be paired with
each of the other."""

MOST = 9
"""Top patches that are shown at most, as many as natural reference images in Borowski et al. 2021."""


@dataclass(frozen=True, slots=True)
class Questions:
    """The photographs of the questions about a unit.

    Args:
        high: with its highest peaks, after the references; strongest first.
        low: with its lowest peaks, the lowest first.
    """

    high: Sequence[TopImage]
    low: Sequence[TopImage]


def choose_questions(patches: Patches, unit: int, references: Sequence[TopImage] = ()) -> Questions:
    """Choose the photographs of the questions about a unit.

    Args:
        patches: of the index that is asked about.
        unit: of its layer.
        references: the unit's strongest images, where they are from the same index and shown as
            references; the questions are about the next ones.

    Raises:
        UsageError: if the index has too few different photographs for the unit.
    """
    taken = len(references)
    high = patches.strongest(unit, taken + ASKED)[taken:]
    low = patches.strongest(unit, ASKED, "low")
    needed = taken + 2 * ASKED
    if len({image.photograph for image in (*references, *high, *low)}) < needed:
        raise UsageError(
            f"{patches.index.out} has too few photographs for questions about "
            f"{patches.layer.name} unit {unit}: {needed} different ones are needed"
        )
    return Questions(high, low)
