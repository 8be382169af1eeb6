"""Architectures and weights that neither torchvision nor timm gives by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.blueprint import Blueprint
from pipeline.nets.lite import lite0, lite2

__all__ = ["KNOWN"]

KNOWN: Mapping[str, Callable[[], Blueprint]] = {
    "efficientnet_lite0": lite0,
    "efficientnet_lite2": lite2,
}
"""The networks maxact knows by a name of its own."""
