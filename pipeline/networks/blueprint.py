"""What a network's name stands for, before any weights are in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from pipeline.images.preprocess import Preprocess

__all__ = ["Blueprint"]


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A named architecture and where its published weights are.

    Args:
        name: as a user would give it, in full (`torchvision:resnet50`).
        build: makes the module for an input, with fresh random weights.
        publish: makes the module for an input with its published weights, and says where they came
            from; None where there are none to fetch.
        source: where `publish` takes the weights from, in words.
        preprocess: how images become its input.
        classes: the names of the classifier's units, where known.
        default_layers: names or globs; empty where they are found from the architecture.
        renames: makes the keys of a foreign weights file those of the module, where they differ.
    """

    name: str
    build: Callable[[Preprocess], nn.Module]
    publish: Callable[[Preprocess], tuple[nn.Module, str]] | None
    source: str
    preprocess: Preprocess
    classes: tuple[str, ...] | None = None
    default_layers: tuple[str, ...] = ()
    renames: Callable[[str], str] | None = None
