"""Projections compared with their definition, and the pages that show them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pipeline.config import RunConfig
from pipeline.errors import RenderError
from pipeline.images.preprocess import Preprocess
from pipeline.networks.network import Network
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from tests.fixtures.convnets import convnet, layer_of
from tests.fixtures.tiny import write_tars
from viz.projections.page import draw_projections
from viz.projections.project import (
    DEFAULT_METHODS,
    METHODS,
    activation_maps,
    parse_methods,
    project,
    show_activation,
    show_signed,
)

pytestmark = pytest.mark.slow

SIDE = 8


def two_layers():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1)
    )
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    preprocess = Preprocess(SIDE, SIDE, SIDE, mean=(128.0,) * 3, std=(1.0,) * 3)
    return Network.from_module(module, preprocess, name="two")


def by_definition(network, picture, unit, y, x, method):
    """Compute the projection by transposed convolutions with the ReLU rule between them."""
    first, _, second = network.module
    hidden = first(network.normalise(picture[None]))
    slope = torch.zeros(1, 2, SIDE, SIDE)
    slope[0, unit, y, x] = 1
    slope = nn.functional.conv_transpose2d(slope, second.weight, padding=1)
    if method in ("deconvnet", "guided"):
        slope = slope.clamp(min=0)
    if method in ("gradient", "guided"):
        slope = slope * (hidden > 0)
    return nn.functional.conv_transpose2d(slope, first.weight, padding=1)[0]


@pytest.mark.parametrize("method", ["deconvnet", "guided", "gradient"])
def test_projections_equal_their_definition(method):
    network = two_layers()
    layer = layer_of(network, "2")
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (10, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    units = [number % 2 for number in range(10)]
    peaks = [(number % 8, (3 * number) % 8) for number in range(10)]
    found = project(network, layer, units, pictures, peaks, method)
    for number in range(10):
        y, x = peaks[number]
        with torch.no_grad():
            expected = by_definition(network, pictures[number], units[number], y, x, method)
        assert torch.allclose(found[number], expected, atol=1e-4)


def test_activation_maps_equal_the_output_of_the_layer():
    network = two_layers()
    layer = layer_of(network, "2")
    pictures = torch.randint(0, 256, (9, 3, SIDE, SIDE), dtype=torch.uint8)
    found = activation_maps(network, layer, [1] * 9, pictures)
    with torch.no_grad():
        expected = network.module(network.normalise(pictures))[:, 1]
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_a_projection_of_zero_is_grey():
    shown = show_signed(torch.tensor([[[0.0, 2.0], [-2.0, 1.0]]]))
    assert shown[0, 0, 0] in (127, 128)
    assert shown[0, 0, 1] == 255
    assert shown[0, 1, 0] == 0
    assert show_signed(torch.zeros(3, 4, 4)).float().std() == 0


def test_images_are_darkened_where_the_unit_is_not_active():
    plane = torch.zeros(4, 4)
    plane[0, 0] = 3
    shown = show_activation(torch.full((3, 16, 16), 200, dtype=torch.uint8), plane)
    assert shown[0, 0, 0] == 200
    assert shown[0, 15, 15] == 30


def test_methods_are_parsed():
    assert parse_methods("all") == METHODS
    assert set(DEFAULT_METHODS) < set(METHODS)
    assert parse_methods("guided, activation") == ("guided", "activation")
    with pytest.raises(RenderError, match=r"unknown projection 'guide'.*did you mean 'guided'"):
        parse_methods("guide")


def test_a_page_of_projections_is_drawn(tmp_path):
    network = convnet()
    tars = write_tars(tmp_path / "data", [12])
    run_index(
        RunConfig(
            data=(str(tars[0]),),
            out=tmp_path / "out",
            network="convnet",
            layers=("late", "head"),
            top=4,
            compile="off",
        ),
        network=network,
    )
    with open_index(tmp_path / "out") as index:
        for layer in index.layers:
            (file,) = draw_projections(
                index,
                layers=layer.name,
                units=[1],
                methods=("guided", "activation"),
                images=3,
                network=network,
            )
            with Image.open(file) as page:
                pixels = np.array(page)
            assert pixels.shape[2] == 3
            assert pixels.std() > 10


def test_what_has_no_gradient_or_no_map_is_refused():
    network = convnet()
    layer = layer_of(network, "late")
    pictures = torch.zeros(1, 3, SIDE, SIDE)
    with pytest.raises(RenderError, match="projection 'activation' has no gradient; expected "):
        project(network, layer, [0], [(1, 1)], pictures, "activation")
    with pytest.raises(RenderError, match="where its positions are is not known; give other methods"):
        activation_maps(network, replace(layer, positions="unknown"), [0], pictures)
