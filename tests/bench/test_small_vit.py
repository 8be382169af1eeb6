"""bench.small_vit: the changed gradient, the augmentations, and the match of units."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.small_vit.augmented import DEVIATION, Augmented, Variation
from bench.small_vit.measures import find_twins, peaks
from bench.small_vit.network import NEURONS, PREPROCESS, SIDE, untrained, without_pattern_gradient
from bench.small_vit.variants import all_variants
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from viz.recipes.fourier import Fourier
from viz.render.render_units import render_units


@pytest.fixture(scope="module")
def network() -> Network:
    return Network.from_module(untrained("textures", 0), PREPROCESS)


@pytest.fixture(scope="module")
def layer(network: Network) -> Layer:
    (layer,) = choose_layers(network, [NEURONS], receptive_fields=False)
    return layer


def _pictures(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)


def test_constant_patterns_change_the_gradient_and_not_the_output() -> None:
    found = []
    for change in (False, True):
        module = untrained("textures", 3).eval()
        with torch.no_grad():
            # Of an untrained network the patterns are even, and hardly depend on the picture.
            for block in module.blocks:  # type: ignore[union-attr]
                block.attn.qkv.weight.mul_(20)
        module = without_pattern_gradient(module) if change else module
        pixels = ((_pictures(1).float() - 127.5) / 64).requires_grad_()
        output = module(pixels)
        (gradient,) = torch.autograd.grad(output.square().sum(), pixels)
        found.append((output.detach(), gradient))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-3)
    assert (found[0][1] - found[1][1]).norm() > 0.05 * found[0][1].norm()


def test_without_its_options_it_is_fourier(network: Network, layer: Layer, tmp_path) -> None:
    plain, same = (
        render_units(network, layer, [3], recipe, out=tmp_path / recipe.name, path=False)
        for recipe in (Fourier(steps=4), Augmented(name="same", steps=4))
    )
    assert plain[0].trace == same[0].trace


def test_views_noise_and_variation_change_it_and_repeat(network: Network, layer: Layer, tmp_path) -> None:
    recipe = Augmented(name="all", steps=4, copies=2, colour=1.0, noise=0.5, variation=0.3)
    first, again, without = (
        render_units(network, layer, [3], each, out=tmp_path / str(number), path=False)[0].trace
        for number, each in enumerate((recipe, recipe, replace(recipe, noise=0.0)))
    )
    assert first == again != without


def test_variation_is_the_mean_difference_of_neighbours_in_both_directions() -> None:
    ramp = 8 * torch.arange(16.0).expand(3, 16, 16)
    flat = torch.full((3, 16, 16), 50.0)
    scores = torch.tensor([3.0, -1.0])
    changed = Variation(0.5)(scores, {}, torch.stack([ramp, flat]), [0, 1], lambda *_: {})
    # Along one axis neighbours differ by 8, along the other by nothing; 1 is added under both roots.
    expected = torch.tensor([(65**0.5 + 1) / 2, 1.0]) / DEVIATION
    assert torch.allclose(changed, scores - 0.5 * torch.tensor([4.0, 2.0]) * expected)


def test_units_are_matched_with_those_of_a_permuted_network(network: Network, layer: Layer) -> None:
    other = untrained("textures", 0)
    order = torch.randperm(layer.units, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in (other.blocks[2].mlp.fc1.weight, other.blocks[2].mlp.fc1.bias):  # type: ignore[index]
            parameter.copy_(parameter[order].clone())
    images = list(_pictures(24))
    twins = find_twins(network, layer, Network.from_module(other, PREPROCESS), [layer], images)
    assert torch.equal(order[twins.unit], torch.arange(layer.units))
    assert float(twins.r.min()) > 0.999
    highest = [int(image) for image in peaks(network, [layer], images).argmax(0)[:4]]
    assert all(share >= 0.99 for share in twins([images[image] for image in highest], range(4)))


def test_every_row_has_a_recipe_of_its_own() -> None:
    variants = all_variants()
    assert len({each.recipe.name for each in variants}) == len({each.title for each in variants})
    assert len({each.title for each in variants}) == len(variants)
