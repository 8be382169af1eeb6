"""Checkpoints of the batches that are being optimised: hidden files in `OUT/renders`.

A batch's checkpoint is found again by the same batch only: its name contains a hash of everything
that decides its pictures, and of what decides their low bits. It is removed with the batch's last
attempt, or with the first of its renderings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from pipeline.errors import StoreError
from viz.ascent.checkpoint import Checkpoint
from viz.render.request import RenderRequest, Target

__all__ = ["checkpoint_of", "remove_checkpoints"]

FOLDER = "renders"
"""In OUT."""

SUFFIX = ".checkpoint"

NAME_LENGTH = 16
"""Hexadecimal digits of the first rendering's fingerprint at the start of a name."""


def checkpoint_of(request: RenderRequest, targets: Sequence[Target], device: torch.device) -> Checkpoint:
    """The checkpoint of one attempt at a batch.

    Args:
        request: with the recipe and the seed of the attempt.
        targets: of the batch.
        device: where it is optimised.
    """
    key = json.dumps(
        {
            "targets": [target.fingerprint for target in targets],
            "recipe": asdict(request.recipe),
            "seed": request.seed,
            "device": device.type,
            "torch": torch.__version__,
        }
    )
    digest = hashlib.sha256(key.encode()).hexdigest()[:NAME_LENGTH]
    return Checkpoint(request.out / FOLDER / f".{targets[0].fingerprint[:NAME_LENGTH]}-{digest}{SUFFIX}")


def remove_checkpoints(out: Path, targets: Sequence[Target]) -> None:
    """Remove the checkpoints of batches that start with one of these targets, which are finished.

    Raises:
        StoreError: when one cannot be removed.
    """
    finished = {target.fingerprint[:NAME_LENGTH] for target in targets}
    try:
        for path in list((out / FOLDER).glob(f".*{SUFFIX}")):
            if path.name[1:].partition("-")[0] in finished:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot remove a checkpoint in {out / FOLDER}: {error.strerror or error}"
        ) from error
