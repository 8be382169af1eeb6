"""The one door to torchvision and timm.

torchvision's wheel is built against one build of torch. Beside another one (a CPU build, say) its
compiled operators do not load, which torchvision tolerates, but the import then registers fakes
for two operators that nobody declared and fails. Declaring their schemas first is enough: models
and transforms work, detection operators do not and are not needed here.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import torch

from pipeline.errors import NetworkError

__all__ = ["timm", "torchvision"]

MISSING_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""The operators that torchvision registers a fake for, whether or not it could load them."""

_kept: list[torch.library.Library] = []
"""Declarations last as long as their Library object."""


def _extension_loads(package: Path) -> bool:
    """Whether torchvision's compiled operators load beside this torch."""
    binaries = [*package.glob("_C*.so"), *package.glob("_C*.pyd")]
    try:
        for binary in binaries:
            torch.ops.load_library(str(binary))  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return bool(binaries)


@functools.cache
def torchvision() -> ModuleType:
    """The torchvision package, importable beside any build of torch.

    Raises:
        NetworkError: when it is not installed.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise NetworkError("torchvision is not installed; run `pip install torchvision`")
    if not _extension_loads(Path(spec.origin).parent):
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for schema in MISSING_SCHEMAS:
            library.define(schema)  # type: ignore[no-untyped-call]
        _kept.append(library)
    return importlib.import_module("torchvision")


@functools.cache
def timm() -> ModuleType:
    """The timm package; it imports torchvision, so it comes through here too.

    Raises:
        NetworkError: when it is not installed.
    """
    torchvision()
    if importlib.util.find_spec("timm") is None:
        raise NetworkError("timm is not installed; run `pip install timm`")
    return importlib.import_module("timm")
