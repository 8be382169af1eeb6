"""What receptive fields are cached under: all that they depend on, or nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.layers.receptive_field_cache import architecture_key

SHAPE = (1, 3, 32, 32)


class Own(nn.Module):
    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.conv(images)
        return found


def test_the_key_depends_on_the_architecture_and_the_input_but_not_on_the_weights() -> None:
    key = architecture_key(Own(), SHAPE)
    assert key == architecture_key(Own(), SHAPE)
    others = [
        architecture_key(Own(5), SHAPE),
        architecture_key(Own(), (1, 3, 32, 33)),
        architecture_key(nn.Conv2d(3, 4, 3), SHAPE),
        architecture_key(nn.Conv2d(3, 4, 3, stride=2), SHAPE),
    ]
    assert len({key, *others}) == 5
    assert None not in others


def test_code_that_cannot_be_read_has_no_key() -> None:
    assert architecture_key(torch.fx.symbolic_trace(Own()), SHAPE) is None
    typed = type("Typed", (Own,), {"__module__": "typed_at_a_prompt"})
    assert architecture_key(typed(), SHAPE) is None
