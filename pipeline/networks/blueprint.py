"""The definition of a network that a name refers to, before it is built and weights are loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from pipeline.images.preprocess import Preprocess
from pipeline.networks.adapter import Adapter

__all__ = ["Blueprint"]


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A named architecture and the source of its published weights.

    Args:
        name: as a user would give it, in full (`torchvision:resnet50`).
        build: builds the module for some preprocessing, with random weights.
        publish: builds it with the published weights, and returns the module and a description of
            their source; None if no weights can be downloaded.
        source: description of where `publish` gets the weights, shown to the user.
        preprocess: default preprocessing.
        classes: names of the classifier's units, if known.
        default_layers: names or globs; empty if they are found from the architecture.
        renames: maps the keys of a foreign weights file to those of the module, if they differ.
        assumed: why the preprocessing is ImageNet's and not the network's own, the start of a sentence;
            empty if it is the network's own.
        from_state: builds the module from the tensors of a weights file, if they need more than to be
            loaded by name; raises WeightsError.
        adapter: how a batch becomes the arguments of the module's call, if not as its only one.
        notes: what a user should know of this network, a line each.
    """

    name: str
    build: Callable[[Preprocess], nn.Module]
    publish: Callable[[Preprocess], tuple[nn.Module, str]] | None
    source: str
    preprocess: Preprocess
    classes: tuple[str, ...] | None = None
    default_layers: tuple[str, ...] = ()
    renames: Callable[[str], str] | None = None
    assumed: str = ""
    from_state: Callable[[Mapping[str, Tensor], str], nn.Module] | None = None
    adapter: Adapter | None = None
    notes: tuple[str, ...] = ()
