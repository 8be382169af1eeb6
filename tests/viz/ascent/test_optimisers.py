"""Update rules against plain references, image by image."""

from __future__ import annotations

import pytest
import torch

from viz.ascent.optimisers import Adam, BlurredSteps, ShrinkingSteps


def gradients(steps, images=3):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(images, 4, 5, generator=generator) for _ in range(steps)]


@pytest.mark.parametrize("nesterov", [False, True])
def test_adam_is_pytorchs_on_gradients_of_unit_rms(nesterov):
    rule = torch.optim.NAdam if nesterov else torch.optim.Adam
    expected = torch.zeros(3, 4, 5, requires_grad=True)
    reference = rule([expected], lr=0.1, maximize=True)
    values, ours = torch.zeros(3, 4, 5), Adam(0.1, nesterov=nesterov)
    for step, gradient in enumerate(gradients(6)):
        expected.grad = gradient / gradient.square().mean((1, 2), keepdim=True).sqrt()
        reference.step()
        values = ours.step(values, gradient, step)
    assert torch.allclose(values, expected.detach(), atol=1e-5)


def test_adam_goes_on_with_some_images_as_if_alone():
    given = gradients(6)
    together, alone = Adam(0.1), Adam(0.1)
    all_values, own = torch.zeros(3, 4, 5), torch.zeros(1, 4, 5)
    for step, gradient in enumerate(given):
        if step == 3:
            together.keep([1])
            all_values = all_values[[1]]
        all_values = together.step(all_values, gradient[[1]] if step >= 3 else gradient, step)
        own = alone.step(own, gradient[[1]], step)
    assert torch.equal(all_values, own)


def test_steps_have_the_lengths_asked_for():
    pictures, gradient = torch.full((2, 3, 8, 8), 100.0), torch.randn(2, 3, 8, 8)
    rule = BlurredSteps([2.0, 4.0], [0.0, 0.0])
    for step, length in enumerate((2.0, 4.0)):
        moved = rule.step(pictures, rule.scale_view(gradient), step)
        assert (moved - pictures).abs().mean((1, 2, 3)).tolist() == pytest.approx([length] * 2, rel=1e-4)
    codes = torch.zeros(2, 6)
    rule = ShrinkingSteps([3.0], 0.5, torch.full((6,), -9.0), torch.full((6,), 1.0))
    moved = rule.step(codes, torch.ones(2, 6), 0)
    assert moved.tolist() == [[1.0] * 6] * 2
    assert rule.step(codes, torch.zeros(2, 6), 0).tolist() == [[0.0] * 6] * 2
