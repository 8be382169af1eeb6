"""Import torchvision, timm, transformers and open_clip; no other module imports them.

A torchvision wheel is built for one build of torch. With another build (such as a CPU build) its
compiled operators do not load. torchvision tolerates this, but its import then fails because it
registers fake implementations for two operators that are not defined. Defining their schemas first
avoids the error: models and transforms work; the detection operators do not, and are not needed.
The other libraries import torchvision, and are therefore imported after it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import torch

from pipeline.errors import NetworkError

__all__ = ["open_clip", "prepare_torchvision", "timm", "torchvision", "transformers"]

T = TypeVar("T")

MISSING_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""Operators for which torchvision registers a fake implementation even if it cannot load them."""

_libraries: list[torch.library.Library] = []
"""Keeps the definitions alive: they are removed with their Library object."""


_importing = threading.RLock()


def _once(find: Callable[[], T]) -> Callable[[], T]:
    """Call a function once; threads that call it meanwhile wait for the result.

    `functools.cache` would call it once a thread, and an operator cannot be defined twice.
    """
    cached = functools.cache(find)

    @functools.wraps(find)
    def waiting() -> T:
        with _importing:
            return cached()

    return waiting


def _extension_loads(package: Path) -> bool:
    """Return whether torchvision's compiled operators load with the installed torch."""
    binaries = [*package.glob("_C*.so"), *package.glob("_C*.pyd")]
    try:
        for binary in binaries:
            torch.ops.load_library(str(binary))  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return bool(binaries)


@_once
def prepare_torchvision() -> bool:
    """Make `import torchvision` work with any build of torch; returns whether it is installed.

    Users' own code that imports it, or a library that does, needs no more.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    if "torchvision" not in sys.modules and not _extension_loads(Path(spec.origin).parent):
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for schema in MISSING_SCHEMAS:
            library.define(schema)  # type: ignore[no-untyped-call]
        _libraries.append(library)
    return True


@_once
def torchvision() -> ModuleType:
    """Import torchvision, with any build of torch.

    Raises:
        NetworkError: if it is not installed.
    """
    if not prepare_torchvision():
        raise NetworkError("torchvision is not installed; run `pip install torchvision`")
    return importlib.import_module("torchvision")


@_once
def timm() -> ModuleType:
    """Import timm, which itself imports torchvision.

    Raises:
        NetworkError: if it is not installed.
    """
    torchvision()
    if importlib.util.find_spec("timm") is None:
        raise NetworkError("timm is not installed; run `pip install timm`")
    return importlib.import_module("timm")


@_once
def transformers() -> ModuleType:
    """Import transformers, without its progress bars and warnings.

    Raises:
        NetworkError: if it is not installed.
    """
    torchvision()
    if importlib.util.find_spec("transformers") is None:
        raise NetworkError("transformers is not installed; run `pip install 'maxact[hf]'`")
    library = importlib.import_module("transformers")
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    return library


@_once
def open_clip() -> ModuleType:
    """Import open_clip.

    Raises:
        NetworkError: if it is not installed.
    """
    torchvision()
    if importlib.util.find_spec("open_clip") is None:
        raise NetworkError("open_clip is not installed; run `pip install 'maxact[clip]'`")
    return importlib.import_module("open_clip")
