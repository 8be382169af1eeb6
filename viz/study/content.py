"""The content of a study as JSON: pictures, units, and the orders of trials.

The page holds it and the answers repeat what they are about, so that they can be scored without it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.query.index import TopImage
from viz.study.orders import Trial
from viz.study.pictures import Pictures
from viz.study.questions import Questions

__all__ = ["ANSWERS", "FORMAT", "VERSION", "StudyUnit", "encode_study"]

FORMAT = "maxact study"
ANSWERS = "maxact study answers"
"""The fields `format` of a study and of the answers to it."""

VERSION = 1


@dataclass(frozen=True, slots=True)
class StudyUnit:
    """A unit of a study, or a spare one for practice and catch trials.

    Args:
        layer, unit: which.
        references: for each condition, places of the pictures; of a spare unit, only its top patches.
        shown: the images that the top patches are cut from.
        questions: the photographs that are asked about.
        asked: places of their pictures, those of `high` first.
    """

    layer: str
    unit: int
    references: Sequence[Sequence[int]]
    shown: Sequence[TopImage]
    questions: Questions
    asked: Sequence[int]


def encode_study(
    about: dict[str, Any],
    units: Sequence[StudyUnit],
    spare: Sequence[StudyUnit],
    practice: Sequence[Trial],
    orders: Sequence[Sequence[Trial]],
    pictures: Pictures,
) -> dict[str, Any]:
    """Encode a study as what JSON has: the format is described in docs/study.md.

    Args:
        about: network, dataset, conditions and the like, which the answers repeat.
        units: of the study.
        spare: other units.
        practice: trials with feedback.
        orders: of all participants.
        pictures: of all units.
    """
    # Study units and spare ones are in one list: a trial has the place in it.
    content = {
        "units": [_encode_unit(unit) for unit in (*units, *spare)],
        "practice": [_encode_trial(trial, len(units)) for trial in practice],
        "orders": [[_encode_trial(trial, len(units)) for trial in order] for order in orders],
        "pictures": pictures.uris,
    }
    digest = hashlib.sha256(json.dumps([about, content], sort_keys=True).encode()).hexdigest()
    return {"format": FORMAT, "version": VERSION, "about": {"id": digest[:16], **about}, **content}


def _encode_unit(unit: StudyUnit) -> dict[str, Any]:
    images = [*unit.questions.high, *unit.questions.low]
    return {
        "layer": unit.layer,
        "unit": unit.unit,
        "references": [list(places) for places in unit.references],
        "shown": [image.image_id for image in unit.shown],
        "asked": [[place, image.image_id] for place, image in zip(unit.asked, images, strict=True)],
    }


def _encode_trial(trial: Trial, units: int) -> list[Any]:
    place = trial.unit if trial.kind == "trial" else units + trial.unit
    return [trial.kind, place, trial.condition, trial.high, trial.low, int(trial.right)]
