"""Run a training to its end, with checkpoints from which the same call resumes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from pipeline.errors import RenderingFailed
from pipeline.progress import Reporter
from pipeline.store.derived import FINGERPRINT_NOTE
from viz.tensor_files import load_tensors, save_tensors

__all__ = ["Training", "read_checkpoint", "train_to_end"]

CHECKPOINT_STEPS = 200
"""Steps between two checkpoints."""


class Training(Protocol):
    """A training and its state."""

    @property
    def step(self) -> int:
        """Steps done."""

    @property
    def steps(self) -> int:
        """Steps in all."""

    @property
    def saved_for(self) -> str:
        """Fingerprint of the index that the file names."""

    def resume(self, path: Path) -> bool:
        """Load a checkpoint and return True, or return False if there is none."""

    def begin(self, reporter: Reporter) -> None:
        """Prepare the next step: read what is trained on."""

    def advance(self) -> float:
        """Do one step, and return the loss."""

    def state(self) -> dict[str, Any]:
        """The content of a checkpoint."""


def train_to_end(training: Training, path: Path, title: str, reporter: Reporter) -> None:
    """Continue a training to its end; the file always says for which index.

    Args:
        training: at its start.
        path: of the checkpoint, which the finished file replaces.
        title: of the task that is reported.
        reporter: receives the steps and the loss.
    """
    if training.resume(path):
        reporter.note(f"resuming at step {training.step:,} of {training.steps:,}")
    if training.step >= training.steps:
        state = training.state()
        if training.saved_for != state[FINGERPRINT_NOTE]:
            save_tensors(path, state)
        return
    training.begin(reporter)
    with reporter.task(title, training.steps, "steps") as task:
        task.advance(training.step)
        while training.step < training.steps:
            loss = training.advance()
            task.advance()
            task.describe(f"loss {loss:.3f}")
            if training.step % CHECKPOINT_STEPS == 0 or training.step == training.steps:
                save_tensors(path, training.state())


def read_checkpoint(path: Path, device: torch.device, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The content of a checkpoint, or None if there is none.

    Args:
        path: of the file.
        device: for the tensors.
        identity: keys and values that it must have, as it was trained with these settings.

    Raises:
        RenderError: if it belongs to a training with other settings, or is damaged.
    """
    try:
        content = load_tensors(path, device)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RenderingFailed(
            f"{path} cannot be read ({error}); delete it, and run the same command again to train anew"
        ) from error
    for key, expected in identity.items():
        if content.get(key) != expected:
            raise RenderingFailed(
                f"{path} was trained with other settings ({key}: found {content.get(key)}, expected "
                f"{expected}); delete it or use the same settings"
            )
    return content
