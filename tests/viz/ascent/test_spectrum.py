import numpy as np
import pytest
import torch

from viz.ascent.spectrum import COLOUR_DIRECTIONS, frequencies, spectrum_noise, spectrum_to_picture
from viz.pixels import blur, enlarge, noise, to_bytes


def generators(count, first=0):
    return [torch.Generator().manual_seed(first + number) for number in range(count)]


def test_the_spectrum_becomes_a_picture_as_lucid_says():
    height, width = 9, 12
    spectrum = spectrum_noise(generators(1), (3, height, width), 0.5)
    found = spectrum_to_picture(spectrum, height, width)[0]
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.sqrt(rows**2 + columns**2)
    scale = np.sqrt(height * width) / np.maximum(frequency, 1 / max(height, width))
    values = spectrum[0].numpy().astype(np.float64)
    planes = np.fft.irfft2((values[..., 0] + 1j * values[..., 1]) * scale, s=(height, width)) / 4
    directions = np.array(COLOUR_DIRECTIONS)
    directions /= np.linalg.norm(directions, axis=0).max()
    mixed = np.einsum("rc,chw->rhw", directions, planes)
    assert found.numpy() == pytest.approx(255 / (1 + np.exp(-mixed)), abs=1e-2)


def test_a_grey_spectrum_has_one_channel_and_no_colours():
    picture = spectrum_to_picture(spectrum_noise(generators(2), (1, 8, 8), 0.01), 8, 8)
    assert picture.shape == (2, 1, 8, 8)


def test_frequencies_are_those_of_a_real_fft():
    assert frequencies(4, 6).shape == (4, 4)
    assert frequencies(4, 6)[0].tolist() == pytest.approx([0, 1 / 6, 2 / 6, 0.5])
    assert frequencies(4, 6)[2, 0] == 0.5


def test_blur_keeps_a_flat_picture_and_spreads_a_point_as_a_gaussian():
    assert torch.allclose(blur(torch.full((1, 3, 9, 9), 200.0), 2.5), torch.tensor(200.0))
    pictures = torch.zeros(1, 1, 21, 21)
    pictures[0, 0, 10, 10] = 1
    spread = blur(pictures, 1.5)[0, 0]
    assert float(spread.sum()) == pytest.approx(1, abs=1e-4)
    assert float(spread[10, 12] / spread[10, 10]) == pytest.approx(np.exp(-0.5 * (2 / 1.5) ** 2))
    assert blur(pictures, 0) is pictures


def test_blur_does_not_mix_images_or_channels():
    pictures = torch.rand(3, 2, 17, 13)
    together = blur(pictures, 1.1)
    for image in range(3):
        assert torch.equal(blur(pictures[image : image + 1], 1.1)[0], together[image])


def test_noise_is_each_images_own():
    together = noise(generators(4), (3, 5, 5), 250, 8)
    assert torch.equal(noise(generators(1, first=2), (3, 5, 5), 250, 8)[0], together[2])
    assert together.max() <= 255


def test_enlarging_stays_within_bytes():
    larger = enlarge(255 * (torch.rand(1, 3, 8, 8) > 0.5).float(), 11, 12)
    assert larger.shape == (1, 3, 11, 12)
    assert larger.min() >= 0
    assert larger.max() <= 255


def test_bytes_are_rounded_not_cut():
    assert to_bytes(torch.tensor([-1.0, 0.6, 254.4, 300.0])).tolist() == [0, 1, 254, 255]
