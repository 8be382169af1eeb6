"""An indexed network in the precision and memory format of its index, to run images again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.networks.network import Network
from pipeline.stream.loop import DTYPES, MEMORY_FORMATS, place_module

__all__ = ["PlacedNetwork", "place_as_indexed"]


@dataclass(frozen=True, slots=True)
class PlacedNetwork:
    """A copy of a network's module, and what its input must be.

    Args:
        network: that was indexed.
        module: the copy.
        device, dtype, memory_format: of the module and its input.
    """

    network: Network
    module: nn.Module
    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format

    def batch(self, pixels: Tensor) -> Tensor:
        """The normalised input, (image, channel, y, x), of uint8 pixels with the same axes."""
        normalised = self.network.normalise(pixels.to(self.device))
        return normalised.to(dtype=self.dtype, memory_format=self.memory_format)


def place_as_indexed(network: Network, config: Mapping[str, Any], device: torch.device) -> PlacedNetwork:
    """Copy a network as a run had it.

    Args:
        network: not changed.
        config: of the run, from its run.json.
        device: where the copy runs.

    Raises:
        NetworkError: if the module does not compute in that precision.
    """
    precision, memory_format = config["precision"], config["memory_format"]
    module = place_module(network, precision, memory_format).to(device)
    return PlacedNetwork(network, module, device, DTYPES[precision], MEMORY_FORMATS[memory_format])
