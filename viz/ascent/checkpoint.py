"""The state of an ascent in a file, from which an interrupted one continues bit for bit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from pipeline.errors import RenderingFailed
from viz.tensor_files import load_tensors, save_tensors

__all__ = ["CHECKPOINT_SECONDS", "Checkpoint", "Stateful"]

CHECKPOINT_SECONDS = 30.0
"""Time between two checkpoints: what an interrupted ascent loses at most."""


class Stateful(Protocol):
    """A part of an ascent that changes from step to step."""

    def state(self) -> dict[str, Any]:
        """Tensors, numbers and containers of them."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""


class Checkpoint:
    """The file that keeps the state of one ascent.

    Args:
        path: of the file; its name says of which ascent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.exists = False
        self._saved = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._saved >= CHECKPOINT_SECONDS

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file.

        Raises:
            StoreError: when it cannot be written.
        """
        save_tensors(self.path, state)
        self.exists, self._saved = True, time.monotonic()

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The state saved last; None where there is none, or none that can be read."""
        try:
            content = load_tensors(self.path, device)
        except (FileNotFoundError, ValueError):
            return None
        self.exists = True
        return content

    @contextmanager
    def refuse_other(self) -> Iterator[None]:
        """Report a state that is not of this ascent.

        Raises:
            RenderingFailed: instead of the errors that restoring such a state gives.
        """
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise RenderingFailed(
                f"{self.path} is not the checkpoint of this rendering ({type(error).__name__}); delete it "
                "and run the same command again"
            ) from error
