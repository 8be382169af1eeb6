"""The rules between tables hold for true indexes of units of every kind, and parts give the same tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.check.audit import check_index
from pipeline.check.choice import miss_probability
from pipeline.config import RunConfig
from pipeline.images.preprocess import Preprocess
from pipeline.networks.network import Network
from pipeline.runs.run import run_index
from tests.fixtures.tiny import write_tars

pytestmark = pytest.mark.slow

LAYERS = ("conv", "gelu", "relu", "small", "large", "negative", "head")


class Various(nn.Module):
    """Layers of both signs, rectified, dead, near 0, and beyond 2**20 on either side."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 5, stride=2)
        self.gelu, self.relu = nn.GELU(), nn.ReLU()
        self.small, self.large, self.negative = nn.Identity(), nn.Identity(), nn.Identity()
        self.head = nn.Linear(12, 9)

    def forward(self, x: Tensor) -> Tensor:
        x = self.gelu(self.conv(x))
        x = self.relu(x - 0.05)
        self.small(x * 1e-4 - 1e-5)
        self.large(x * 1e8 - 2e6)
        self.negative(-x * 1e8 - 9)
        return self.head(x.mean((2, 3)))


def various() -> Network:
    module = Various()
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data.copy_(torch.rand(parameter.shape, generator=generator) - 0.5)
    module.conv.weight.data[:3] = 0
    return Network.from_module(module, Preprocess(16, 16, 16, mean=(128.0,) * 3, std=(20.0,) * 3))


@pytest.mark.parametrize(
    "changes",
    [
        {"top": 4},
        {"top": 1, "classes": 2},
        {"top": 99, "classes": None},
        {"score": "mean"},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_every_rule_holds_for_a_true_index(tmp_path: Path, changes: dict[str, object]) -> None:
    data = write_tars(tmp_path / "data", [30, 17, 1])
    asked = RunConfig(
        data=tuple(map(str, data)),
        out=tmp_path / "out",
        layers=LAYERS,
        compile="off",
        workers=1,
        shards_per_part=1,
        **changes,  # type: ignore[arg-type]
    )
    run_index(asked, network=various())
    audit = check_index(tmp_path / "out", sample=0)
    assert [str(each) for each in audit.discrepancies] == []
    assert audit.rebuilt


def test_the_chance_to_miss_is_that_of_drawing_without_replacement() -> None:
    assert miss_probability(10, 0, 4) == 1
    assert miss_probability(10, 10, 1) == 0
    assert miss_probability(10, 3, 8) == 0
    assert miss_probability(5, 2, 2) == pytest.approx(3 / 10)  # C(3, 2) / C(5, 2)
    assert miss_probability(10_000, 500, 64) == pytest.approx(0.95**64, rel=0.02)
