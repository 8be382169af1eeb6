"""JPEG files decoded, resized and cropped in batches on a GPU.

The files that nvJPEG is not asked for, or refuses, are left to PIL, which decides whether they are damaged:
anything but JPEG, CMYK, progressive files that lack a scan, and files without an end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from pipeline.choices import AskedDecoder, Decoder
from pipeline.errors import BadImage, UsageError
from pipeline.images.decode import MAX_PIXELS, to_network
from pipeline.images.jpeg import is_jpeg, read_jpeg
from pipeline.images.preprocess import Preprocess

__all__ = [
    "BatchDecoder",
    "BatchImage",
    "find_batches",
    "find_nvjpeg",
    "has_nvjpeg",
    "make_upright",
    "resolve_decoder",
]

Decode = Callable[[list[Tensor], torch.device], list[Tensor]]
"""From encoded files, (byte) uint8 each, to (channel, y, x) uint8 RGB each, as they are stored."""


@dataclass(frozen=True, slots=True)
class BatchImage:
    """One decoded image.

    Args:
        pixels: (channel, y, x) uint8 in the network's geometry, on the device, channels-last in memory.
        height: of the upright original, in pixels.
        width: likewise.
    """

    pixels: Tensor
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class BatchDecoder:
    """Decodes on a device.

    Args:
        preprocess: the network's geometry.
        device: where to.
        library: decodes a batch as it is stored.
    """

    preprocess: Preprocess
    device: torch.device
    library: Decode

    def decode(self, files: Sequence[bytes]) -> list[BatchImage | BadImage | None]:
        """Decode a batch.

        On CUDA the work is done in a stream of the calling thread, and is finished when this returns.

        Args:
            files: encoded images.

        Returns:
            For each file the image, why it cannot be used, or None where it is left to PIL.
        """
        turns = [_orientation(data) for data in files]
        taken = [number for number, turn in enumerate(turns) if turn]
        if not taken:
            return [None] * len(files)
        if self.device.type != "cuda":
            decoded = self._decode_all([files[number] for number in taken])
        else:  # pragma: no cover (needs a GPU)
            stream = _stream(self.device)
            with torch.cuda.stream(stream):
                decoded = self._decode_all([files[number] for number in taken])
            stream.synchronize()
        found: list[BatchImage | BadImage | None] = [None] * len(files)
        for number, pixels in zip(taken, decoded, strict=True):
            if pixels is not None:
                found[number] = self._place(make_upright(pixels, turns[number]))
        return found

    def _decode_all(self, files: Sequence[bytes]) -> list[Tensor | None]:
        """All files at once; if the library refuses the batch, one by one, None for those that it refuses."""
        tensors = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
        try:
            return list(self.library(tensors, self.device))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            if len(files) == 1:
                return [None]
        return [pixels for data in files for pixels in self._decode_all([data])]

    def _place(self, original: Tensor) -> BatchImage | BadImage:
        try:
            pixels = to_network(
                _to_grey(original) if self.preprocess.channels == "grey" else original, self.preprocess
            )
        except BadImage as error:
            return error
        return BatchImage(pixels, *original.shape[1:])


def make_upright(pixels: Tensor, orientation: int) -> Tensor:
    """Turn and mirror stored pixels, (channel, y, x), by EXIF orientation (CIPA DC-008, 4.6.4, tag 274)."""
    if orientation > 4:
        pixels = pixels.transpose(1, 2)
    flips = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}.get(orientation)
    return pixels if flips is None else pixels.flip(flips)


def find_batches(decoder: AskedDecoder, preprocess: Preprocess, device: torch.device) -> BatchDecoder | None:
    """What decodes batches on the device; None where images are decoded one by one on the CPU.

    Raises:
        UsageError: when `nvjpeg` is asked for without a GPU of NVIDIA, or without a library for it.
    """
    if decoder != "nvjpeg":
        return None
    if device.type != "cuda":
        raise UsageError(
            f"--decoder nvjpeg decodes on a GPU of NVIDIA, and the network runs on {device.type}"
        )
    return BatchDecoder(preprocess, device, find_nvjpeg())


def resolve_decoder(decoder: AskedDecoder, device: torch.device) -> Decoder:
    """The decoder that is used; `auto` is nvJPEG on a GPU, else simplejpeg, if they are installed, else PIL.

    Raises:
        UsageError: as `find_batches`.
    """
    if decoder == "nvjpeg":
        find_batches(decoder, Preprocess(), device)
    if decoder != "auto":
        return decoder
    if device.type == "cuda" and has_nvjpeg():
        return "nvjpeg"
    return "pil" if find_spec("simplejpeg") is None else "simplejpeg"


def has_nvjpeg() -> bool:
    """Whether a library that decodes JPEG files on a GPU is installed."""
    try:
        find_nvjpeg()
    except UsageError:
        return False
    return True


@cache
def find_nvjpeg() -> Decode:
    """The function of torchcodec, or of a torchvision that still has it, that decodes JPEG files on a GPU.

    Raises:
        UsageError: when neither is installed or can be loaded.
    """
    reasons = []
    for name, find in (("torchcodec", _torchcodec), ("torchvision", _torchvision)):
        try:
            return find()
        except (ImportError, OSError, RuntimeError) as error:
            reasons.append(f"{name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    raise UsageError(
        f"--decoder nvjpeg needs torchcodec 0.16 or newer (pip install 'maxact[gpu]'); {'; '.join(reasons)}"
    )


def _torchcodec() -> Decode:
    from torchcodec.decoders import decode_jpeg

    # Only a build for CUDA comes so far.
    return lambda files, device: decode_jpeg(files, mode="RGB", device=device)  # pragma: no cover


def _torchvision() -> Decode:
    from pipeline.vision_libraries import torchvision

    read = torchvision().io
    if not hasattr(torch.ops.image, "decode_jpegs_cuda"):
        raise ImportError("this build cannot decode on a GPU")
    mode = read.ImageReadMode.RGB  # pragma: no cover (only a build for CUDA comes so far)
    return lambda files, device: read.decode_jpeg(files, mode=mode, device=device)  # pragma: no cover


def _orientation(data: bytes) -> int:
    """The EXIF orientation of a file that nvJPEG is asked for; 0 for others."""
    if not is_jpeg(data):
        return 0
    file = read_jpeg(data)
    fits = 0 < file.height * file.width <= MAX_PIXELS
    return file.orientation if fits and file.ends and not file.missing and file.components in (1, 3) else 0


def _to_grey(pixels: Tensor) -> Tensor:
    """Luma of ITU-R BT.601 in 16-bit fixed point, as Pillow computes it (libImaging/Convert.c)."""
    red, green, blue = pixels.to(torch.int32)
    luma: Tensor = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16
    return luma.to(torch.uint8)[None]


def _stream(device: torch.device) -> torch.cuda.Stream:  # pragma: no cover (needs a GPU)
    """The calling thread's own stream, so that it waits for its own work only."""
    streams = _threads.__dict__.setdefault("streams", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return streams[device]  # type: ignore[no-any-return]


_threads = threading.local()
