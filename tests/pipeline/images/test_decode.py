"""Pixels against independent ways to get them; geometry; the two decoders side by side."""

from __future__ import annotations

import builtins
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.choices import Decoder
from pipeline.errors import BadImage, UsageError
from pipeline.images.decode import decode, decode_original, open_original, to_network
from pipeline.images.jpeg import exif_orientation, read_jpeg
from pipeline.images.preprocess import Preprocess
from tests.fixtures.corpus import JPEG, PNG, encoded, exif, noisy, picture, turned

DECODERS: tuple[Decoder, ...] = ("pil", "simplejpeg")


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth noise in colour, as unlike a regular pattern as a photograph is."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(100, 80), (80, 100), (33, 200), (64, 64), (20, 31)])
def test_pixels_are_those_of_pillows_resize(
    size: tuple[int, int], interpolation: Any, decoder: Decoder
) -> None:
    image = photo(*size)
    data = encoded(image, "JPEG", quality=90)
    preprocess = Preprocess(32, 40, 48, interpolation=interpolation)
    decoded = decode(data, preprocess, decoder=decoder)
    assert decoded.dtype == torch.uint8
    assert decoded.shape == (3, 32, 40)
    assert decoded.permute(1, 2, 0).is_contiguous()
    assert decode_original(data, decoder=decoder).shape == (3, *reversed(size))
    short = min(size)
    wanted = tuple(int(48 * side / short) for side in size)
    assert preprocess.resized(*size) == wanted
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    resized = Image.open(io.BytesIO(data)).resize(wanted, filters[interpolation])
    left, top = round((wanted[0] - 40) / 2), round((wanted[1] - 32) / 2)
    reference = np.asarray(resized.crop((left, top, left + 40, top + 32))).transpose(2, 0, 1)
    assert np.abs(decoded.numpy().astype(int) - reference.astype(int)).max() <= 1


def test_geometry_is_that_of_torchvision() -> None:
    from pipeline.vision_libraries import torchvision

    torchvision()
    from torchvision.transforms.v2 import functional as reference

    for width, height in [(100, 80), (81, 100), (35, 201), (64, 64), (500, 375), (47, 46)]:
        pixels = torch.from_numpy(np.array(photo(width, height))).permute(2, 0, 1)
        resized = reference.resize(pixels, [36], antialias=True)
        wanted = reference.center_crop(resized, [31, 32])
        seen = to_network(pixels, Preprocess(31, 32, 36))
        assert seen.shape == wanted.shape
        assert (seen.int() - wanted.int()).abs().max() <= 1


def test_squash_stretches() -> None:
    image = photo(100, 50)
    decoded = decode(encoded(image, "PNG"), Preprocess(32, 32, 32, fit="squash"))
    wanted = image.resize((32, 32), Image.Resampling.BILINEAR)
    difference = decoded.permute(1, 2, 0).numpy().astype(int) - np.asarray(wanted)
    assert np.abs(difference).max() <= 1


def test_an_image_of_the_right_size_is_not_touched() -> None:
    image = photo(40, 40)
    decoded = decode(encoded(image, "PNG"), Preprocess(32, 32, 40))
    assert np.array_equal(decoded.permute(1, 2, 0).numpy(), np.asarray(image)[4:36, 4:36])


def test_grey_networks_get_one_channel() -> None:
    grey = Preprocess(16, 16, 16, mean=(0.0,), std=(1.0,), channels="grey")
    for decoder in DECODERS:
        decoded = decode(JPEG, grey, decoder=decoder)
        assert decoded.shape == (1, 16, 16)
    bright = decode(encoded(Image.new("RGB", (20, 20), (10, 200, 30)), "PNG"), grey)
    assert bright.unique().tolist() == [round(10 * 0.299 + 200 * 0.587 + 30 * 0.114)]


def test_channels_are_red_green_blue_even_for_bgr_networks() -> None:
    data = encoded(Image.new("RGB", (20, 20), (250, 100, 5)), "PNG")
    decoded = decode(data, Preprocess(16, 16, 16, channels="bgr"))
    assert decoded[:, 3, 3].tolist() == [250, 100, 5]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_comes_before_the_geometry(orientation: int) -> None:
    data = encoded(turned(orientation), "PNG", exif=exif(orientation))
    upright = decode(PNG, Preprocess(16, 16, 20))
    decoded = decode(data, Preprocess(16, 16, 20))
    assert torch.equal(decoded, upright)
    assert decode_original(data).shape[1:] == picture().size[::-1]


@given(st.binary(max_size=80))
def test_exif_of_any_bytes_gives_an_orientation(data: bytes) -> None:
    assert 1 <= exif_orientation(data) <= 8
    assert 1 <= exif_orientation(b"MM\0*\0\0\0\x08" + data) <= 8


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_damage_raises_anything_but_bad_image(data: st.DataObject) -> None:
    file = bytearray(data.draw(st.sampled_from([JPEG, PNG, encoded(picture(), "GIF"), noisy()])))
    for _ in range(data.draw(st.integers(1, 6))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(file[: data.draw(st.integers(0, len(file)))])
    for candidate in (bytes(file), cut):
        for decoder in DECODERS:
            try:
                decoded = decode(candidate, Preprocess(16, 16, 16), decoder=decoder)
            except BadImage:
                continue
            assert decoded.shape == (3, 16, 16)


def test_cutting_a_jpeg_anywhere_never_gives_a_picture() -> None:
    for data in (noisy(), noisy(restart_marker_rows=1), encoded(photo(90, 70), "JPEG")):
        for cut in range(2, len(data) - 2, 97):
            for ending in (b"", b"\xff\xd9"):
                with pytest.raises(BadImage):
                    decode(data[:cut] + ending, Preprocess(16, 16, 16))


def test_preparing_a_jpeg_changes_no_pixel() -> None:
    for options in ({}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 3}):
        for size in ((64, 64), (65, 63), (8, 8), (1, 1), (17, 300)):
            data = encoded(photo(*size), "JPEG", quality=93, exif=exif(1), **options)
            wanted = np.asarray(Image.open(io.BytesIO(data)))
            file = read_jpeg(data)
            assert not file.missing
            assert np.array_equal(np.asarray(open_original(data)), wanted)


def test_both_decoders_agree() -> None:
    preprocess = Preprocess(32, 32, 36)
    for seed in range(6):
        for options in ({}, {"progressive": True}, {"subsampling": 0}):
            data = encoded(photo(90, 70 + seed, seed), "JPEG", quality=85, **options)
            first = decode(data, preprocess)
            second = decode(data, preprocess, decoder="simplejpeg")
            originals = [decode_original(data, decoder=decoder) for decoder in DECODERS]
            assert originals[0].shape == originals[1].shape
            assert (first.int() - second.int()).abs().max() <= 3


def test_without_simplejpeg_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def importing(name: str, *args: Any, **options: Any) -> Any:
        if name == "simplejpeg":
            raise ImportError(name)
        return original(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(UsageError, match=r"pip install 'maxact\[fast\]'"):
        decode(JPEG, Preprocess(16, 16, 16), decoder="simplejpeg")
    assert decode(PNG, Preprocess(16, 16, 16), decoder="simplejpeg").shape == (3, 16, 16)
    assert decode_original(PNG, decoder="simplejpeg").shape[2] == picture().width


def test_many_threads_give_what_one_does() -> None:
    files = [encoded(photo(60, 50, seed), "JPEG") for seed in range(40)]
    bomb = [b"", noisy()[:3000]]
    preprocess = Preprocess(32, 32, 36)

    def work(data: bytes) -> object:
        try:
            return decode(data, preprocess)
        except BadImage as error:
            return error.kind

    wanted = [work(data) for data in files + bomb]
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(work, files + bomb))
    for one, many in zip(wanted, seen, strict=True):
        same = torch.equal(one, many) if isinstance(one, torch.Tensor) else one == many  # type: ignore[arg-type]
        assert same


def test_memory_running_out_is_not_the_image_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", full)
    with pytest.raises(MemoryError):
        open_original(b"P6 1 1 255 abc")
