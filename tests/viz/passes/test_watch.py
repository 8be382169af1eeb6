"""Watching layers: the pass ends at the last one, and leaves nothing behind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import LayerError
from pipeline.layers.layer import Layer
from tests.fixtures.convnets import SIDE, convnet, layer_of
from viz.passes.watch import Watch

PICTURES = torch.full((2, 3, SIDE, SIDE), 90.0)


def hooks_of(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) for part in module.modules())


def test_a_pass_ends_at_the_last_layer_that_is_wanted() -> None:
    network = convnet()
    stem, late = layer_of(network, "stem"), layer_of(network, "late")
    ran: list[Tensor] = []
    handle = network.module.middle.register_forward_hook(lambda module, inputs, output: ran.append(output))
    with Watch(network, [stem, late], None) as watch:
        assert set(watch(PICTURES)) == {"stem", "late"}
        assert len(ran) == 1
        assert set(watch(PICTURES, ["stem"])) == {"stem"}
        assert len(ran) == 1
    handle.remove()
    assert not hooks_of(network.module)


def test_watches_of_one_network_do_not_disturb_each_other_or_the_network() -> None:
    network = convnet()
    stem, late = layer_of(network, "stem"), layer_of(network, "late")
    expected = network.module(network.normalise(PICTURES))
    with Watch(network, [late], None) as watch:
        wanted = watch(PICTURES)["late"].values
    with Watch(network, [stem], None) as outer:
        outer(PICTURES)
        with Watch(network, [late], None) as inner:
            assert torch.equal(inner(PICTURES)["late"].values, wanted)
            assert set(outer(PICTURES)) == {"stem"}
        assert torch.equal(network.module(network.normalise(PICTURES)), expected)
    assert not hooks_of(network.module)


def test_hooks_are_gone_when_a_layer_does_not_exist() -> None:
    network = convnet()
    stem = layer_of(network, "stem")
    missing = Layer("nowhere", 1, *(getattr(stem, name) for name in Layer.__slots__[2:]))
    with pytest.raises(LayerError, match="no layer 'nowhere'"):
        Watch(network, [stem, missing], None).__enter__()
    assert not hooks_of(network.module)
