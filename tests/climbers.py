"""Small seeded networks to climb in, one of each way to write a ReLU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.images.preprocess import Preprocess
from pipeline.layers.choose import Layer, choose_layers
from pipeline.networks.network import Network

SIDE = 48
PREPROCESS = Preprocess(SIDE, SIDE, SIDE, mean=(128.0,) * 3, std=(64.0,) * 3)


class Climber(nn.Module):
    """Strided convolutions, batch norm, pooling, ReLU modules and functional ReLUs."""

    def __init__(self, *, same_padding: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=0 if same_padding else 1)
        self.same_padding = same_padding
        self.norm = nn.BatchNorm2d(8)
        self.relu6 = nn.ReLU6(inplace=True)
        self.middle = nn.Conv2d(8, 12, 3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.late = nn.Conv2d(12, 16, 3, padding=1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        if self.same_padding:
            # As TensorFlow pads: for an even side all of it comes after the end.
            odd = [side % 2 for side in x.shape[2:]]
            x = F.pad(x, (odd[1], 1, odd[0], 1))
        x = self.relu6(self.norm(self.stem(x)))
        x = self.pool(F.relu(self.middle(x), inplace=True))
        x = torch.relu(self.late(x))
        return self.head(x.mean((2, 3)))


def climber(seed: int = 0, *, same_padding: bool = False, channels: str = "rgb") -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = Climber(same_padding=same_padding)
    preprocess = Preprocess(
        SIDE, SIDE, SIDE, mean=(120.0, 125.0, 130.0), std=(64.0,) * 3, channels=channels
    )
    return Network.from_module(module, preprocess, name="climber")


def layer_of(network: Network, name: str) -> Layer:
    return choose_layers(network, [name])[0]


def factory() -> tuple[nn.Module, Preprocess]:
    """For `--network tests.climbers:factory`."""
    network = climber()
    return network.module, network.preprocess
