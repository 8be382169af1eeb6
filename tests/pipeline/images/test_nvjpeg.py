"""Decoding in batches for a GPU, with Pillow in the place of nvJPEG."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pipeline.errors import BadImage, UsageError
from pipeline.images import decode as decode_module
from pipeline.images import nvjpeg
from pipeline.images.decode import TURNS, decode
from pipeline.images.nvjpeg import BatchDecoder, BatchImage, make_upright
from pipeline.images.preprocess import Channels, Interpolation, Preprocess

CPU = torch.device("cpu")
PREPROCESS = Preprocess(24, 20, 28)


def picture(height: int = 45, width: int = 61) -> Image.Image:
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray(np.stack((rows * 5, columns * 4, rows + columns), -1).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def with_orientation(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture(), exif=exif)


def as_stored(files: list[Tensor], device: torch.device) -> list[Tensor]:
    """Decodes as nvJPEG does: no orientation, RGB, and an error for the whole batch."""
    found = []
    for file in files:
        with Image.open(io.BytesIO(file.numpy().tobytes())) as image:
            if image.mode == "CMYK":
                raise AssertionError("must be left to PIL")
            if image.size == (13, 13):
                raise RuntimeError("nvjpegDecodeBatched failed: 6")
            found.append(torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).to(device))
    return found


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_as_pillow_turns(orientation: int) -> None:
    image = picture()
    turned = image.transpose(TURNS[orientation]) if orientation in TURNS else image
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert np.array_equal(make_upright(pixels, orientation).permute(1, 2, 0).numpy(), np.asarray(turned))


@pytest.mark.parametrize("channels", ["rgb", "bgr", "grey"])
def test_a_batch_is_what_single_images_are(channels: Channels) -> None:
    norm = ((0.0,), (1.0,)) if channels == "grey" else ((0.0,) * 3, (1.0,) * 3)
    preprocess = replace(PREPROCESS, channels=channels, mean=norm[0], std=norm[1])
    files = [
        encoded(picture()),
        with_orientation(6),
        encoded(picture(30, 90), progressive=True),
        encoded(picture().convert("L")),
    ]
    found = BatchDecoder(preprocess, CPU, as_stored).decode(files)
    for data, image in zip(files, found, strict=True):
        assert isinstance(image, BatchImage)
        assert torch.equal(image.pixels, decode(data, preprocess))
        assert image.pixels.permute(1, 2, 0).is_contiguous()
    assert isinstance(found[1], BatchImage)
    assert (found[1].height, found[1].width) == (61, 45)


def test_what_is_left_to_pil() -> None:
    whole = encoded(picture())
    files = [
        b"",
        encoded(picture(), "PNG"),
        encoded(picture().convert("CMYK")),
        whole[: len(whole) // 2],
        whole[:-2],
        encoded(picture(13, 13)),
        whole,
    ]
    found = BatchDecoder(PREPROCESS, CPU, as_stored).decode(files)
    assert [image is None for image in found] == [True] * 6 + [False]


def test_an_image_that_does_not_fit_is_bad() -> None:
    (found,) = BatchDecoder(PREPROCESS, CPU, as_stored).decode([encoded(Image.new("RGB", (40_000, 1)))])
    assert isinstance(found, BadImage)
    assert found.kind == "shape"


def test_too_little_memory_is_not_taken_for_a_damaged_file() -> None:
    def full(files: list[Tensor], device: torch.device) -> list[Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        BatchDecoder(PREPROCESS, CPU, full).decode([encoded(picture())])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resizing_in_floating_point_differs_by_rounding_only(interpolation: Interpolation) -> None:
    """As on a GPU, whose kernels have no bytes."""
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 300, 200), np.uint8))
    wanted = decode_module._resize(pixels, (96, 64), interpolation)
    found = decode_module._resize_in_float(pixels, (96, 64), interpolation)
    off = found.int() - wanted.int()
    assert found.dtype == wanted.dtype == torch.uint8
    assert off.abs().max() == 1
    assert (off != 0).float().mean() < 0.2


def test_without_a_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> nvjpeg.Decode:
        raise ImportError("No module named 'torchcodec'")

    nvjpeg.find_nvjpeg.cache_clear()
    monkeypatch.setattr(nvjpeg, "_torchcodec", missing)
    monkeypatch.setattr(nvjpeg, "_torchvision", missing)
    with pytest.raises(UsageError, match=r"needs torchcodec .*maxact\[gpu\]"):
        nvjpeg.find_nvjpeg()
    assert not nvjpeg.has_nvjpeg()
    nvjpeg.find_nvjpeg.cache_clear()


@pytest.mark.skipif(not nvjpeg.has_nvjpeg(), reason="no torchcodec that can be loaded")
def test_the_library_on_the_cpu_decodes_as_pil() -> None:
    (found,) = BatchDecoder(PREPROCESS, CPU, nvjpeg.find_nvjpeg()).decode([encoded(picture())])
    assert isinstance(found, BatchImage)
    assert torch.equal(found.pixels, decode(encoded(picture()), PREPROCESS))


def test_which_decoder_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU is imagined: nothing is decoded."""
    gpu = torch.device("cuda")
    monkeypatch.setattr(nvjpeg, "find_nvjpeg", lambda: as_stored)
    assert nvjpeg.resolve_decoder("auto", gpu) == nvjpeg.resolve_decoder("nvjpeg", gpu) == "nvjpeg"
    assert nvjpeg.resolve_decoder("pil", gpu) == "pil"
    assert nvjpeg.resolve_decoder("auto", CPU) == "simplejpeg"
    found = nvjpeg.find_batches("nvjpeg", PREPROCESS, gpu)
    assert found is not None
    assert found.device == gpu
    assert nvjpeg.find_batches("simplejpeg", PREPROCESS, gpu) is None
    for resolve in (
        nvjpeg.resolve_decoder,
        lambda name, device: nvjpeg.find_batches(name, PREPROCESS, device),
    ):
        with pytest.raises(UsageError, match="GPU of NVIDIA, and the network runs on cpu"):
            resolve("nvjpeg", CPU)


def test_auto_without_libraries_is_pil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvjpeg, "find_spec", lambda name: None)
    monkeypatch.setattr(nvjpeg, "has_nvjpeg", lambda: False)
    assert (
        nvjpeg.resolve_decoder("auto", CPU) == nvjpeg.resolve_decoder("auto", torch.device("cuda")) == "pil"
    )
