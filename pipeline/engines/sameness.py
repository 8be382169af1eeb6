"""Refuse a process with other code, libraries, weights or files than the one that started the run."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import torch
from torch import nn

from pipeline.errors import EngineError
from pipeline.networks.state_digest import state_digest
from pipeline.version import installed_version

__all__ = ["identify", "refuse_blind", "refuse_other"]

_PACKAGES = ("torch", "numpy", "pillow", "simplejpeg")
"""Packages whose versions decide results; simplejpeg only where it is installed."""

_FOLDERS = ("pipeline", "viz")


def identify(module: nn.Module, device: torch.device) -> dict[str, str]:
    """What two processes must have in common to compute the same, by name.

    Args:
        module: the network.
        device: that it will run on.
    """
    found = {
        "maxact": f"{installed_version() or 'checkout'} ({_code_digest()[:12]})",
        "weights": state_digest(module)[:12],
        "device": device.type,
    }
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "none"
    return found


def refuse_other(wanted: Mapping[str, str], found: Mapping[str, str], node: str) -> None:
    """Compare what a process has with what the run was started with.

    Args:
        wanted: of the process that started the run.
        found: of this one.
        node: name of this machine; empty for the one that started the run.

    Raises:
        EngineError: names the machine and what differs.
    """
    different = "; ".join(
        f"{name} is {found.get(name)} there, {value} here"
        for name, value in wanted.items()
        if found.get(name) != value
    )
    if different:
        raise EngineError(
            f"node {node or 'of this machine'} would compute something else: {different}. Install the same "
            "packages there, and run the same command again"
        )


def refuse_blind(paths: Iterable[Path], node: str) -> None:
    """Refuse a machine without OUT or the dataset: its images would all count as missing.

    Args:
        paths: that must exist.
        node: name of this machine.

    Raises:
        EngineError: names the machine and the first path that it does not see.
    """
    for path in paths:
        if not path.exists():
            raise EngineError(
                f"node {node} does not see {path}; OUT and the dataset must have the same paths on all "
                "nodes, as on a shared file system"
            )


@cache
def _code_digest() -> str:
    """SHA-256 of maxact's source files, with their names."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[2]
    for path in _sources(root):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources(root: Path) -> Iterator[Path]:
    for folder in _FOLDERS:
        yield from sorted((root / folder).rglob("*.py"))
