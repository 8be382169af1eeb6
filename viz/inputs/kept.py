"""What was measured of usual photographs of an index, kept for the next batch and the next command."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from pipeline.data.dataset import default_cache
from pipeline.errors import StoreError
from pipeline.layers.receptive_field_cache import architecture_key
from pipeline.networks.network import Network
from pipeline.query.index import Index
from viz.tensor_files import load_tensors, save_tensors

__all__ = ["Kept", "keep_for"]

VERSION = 1
"""To be increased when something is measured in another way than before."""

FOLDER = "usual"
"""In the cache."""


class Kept:
    """Tensors by key, in memory and in files of a folder; files that cannot be read are measured again.

    Args:
        folder: of the files, created if missing; None keeps tensors in memory only.
        identity: of everything that decides what is measured, besides the keys.
    """

    def __init__(self, folder: Path | None, identity: str) -> None:
        self.folder, self.identity = folder, identity
        self._known: dict[Hashable, dict[str, Tensor]] = {}

    def __call__(self, key: Hashable, measure: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """What was measured under a key; measured now, where it was not.

        Args:
            key: its text is part of a file's name.
            measure: gives tensors by name.
        """
        if key not in self._known:
            self._known[key] = self._read(key) or self._measure(key, measure)
        return self._known[key]

    def _path(self, key: Hashable) -> Path | None:
        if self.folder is None:
            return None
        digest = hashlib.sha256(f"{VERSION} {torch.__version__} {self.identity} {key!r}".encode())
        return self.folder / f"{digest.hexdigest()}.pt"

    def _read(self, key: Hashable) -> dict[str, Tensor] | None:
        path = self._path(key)
        if path is None:
            return None
        try:
            return load_tensors(path, torch.device("cpu"))
        except (FileNotFoundError, ValueError):
            return None

    def _measure(self, key: Hashable, measure: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        found = {name: tensor.detach().cpu().contiguous() for name, tensor in measure().items()}
        path = self._path(key)
        if path is not None:
            with suppress(OSError, StoreError):
                save_tensors(path, found)
        return found


def keep_for(network: Network, index: Index, cache: Path | None = None) -> Kept:
    """Keep what is measured of an index's photographs with a network, in the cache.

    In memory only where the source code of the network's classes is not known: other code may compute
    something else from the same weights.

    Args:
        network: that measures.
        index: of the photographs.
        cache: its folder; by default the one that the index was made with, if that is trusted, and else the
            user's.
    """
    code = architecture_key(network.module, network.input_shape)
    if cache is None:
        recorded = index.run.get("config", {}).get("cache") if index.trusted else None
        cache = default_cache() if recorded is None else Path(recorded)
    identity = f"{index.run['fingerprint']} {network.digest} {code} {network.preprocess}"
    return Kept(None if code is None else cache / FOLDER, identity)
