"""Decodes images to the uint8 pixels of a network's input, before normalisation.

Every mode becomes RGB: grey is repeated, palettes are looked up, CMYK is converted, alpha is
composited over white, 16 bit is scaled to 8, of an animation the first frame is used, and the EXIF
orientation is applied. An image that cannot be decoded completely is refused with the reason.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from pipeline.choices import Decoder
from pipeline.errors import BadImage, MaxactError, UsageError
from pipeline.images.jpeg import exif_orientation, is_jpeg, read_jpeg
from pipeline.images.preprocess import Channels, Interpolation, Preprocess

__all__ = ["MAX_PIXELS", "decode", "decode_original", "open_original", "to_network"]

T = TypeVar("T")

MAX_PIXELS = 89_478_485
"""Pixels above which an image is refused: where Pillow begins to warn of decompression bombs."""

MAX_RESIZED_PIXELS = 1 << 24
"""Pixels of the resized image before its crop; a 1 x 5000 strip would otherwise become 1 GB."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transpose that makes an image upright, by EXIF orientation (CIPA DC-008, 4.6.4, tag 274)."""

FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "DIB",
    "TIFF",
    "PPM",
    "JPEG2000",
    "AVIF",
    "HEIF",
)
"""Formats that are tried, by the first bytes of a file. Pillow has more, but would start Ghostscript
for an EPS file. HEIF needs a plugin, pillow-heif."""

SIXTEEN_BIT = ("PNG", "PPM", "TIFF")
"""Formats whose integer pixels without a fixed range are treated as 16 bit if they fit."""


def decode(data: bytes, preprocess: Preprocess, *, decoder: Decoder = "pil") -> Tensor:
    """Decode, apply the orientation, resize with antialiasing, and crop the centre.

    Args:
        data: an encoded image.
        preprocess: the network's geometry; `channels="grey"` asks for one channel.
        decoder: `simplejpeg` is faster for JPEG and leaves everything else to PIL. `nvjpeg` decodes batches
            (`pipeline.images.nvjpeg`); single images are left to PIL, whose pixels differ by little.

    Returns:
        (channel, preprocess.height, preprocess.width) uint8, channels-last in memory.

    Raises:
        BadImage: with kind `empty`, `unknown`, `truncated`, `corrupt`, `bomb`, `mode` or `shape`.
        UsageError: when simplejpeg is asked for and not installed.
    """
    return to_network(decode_original(data, preprocess.channels, decoder=decoder), preprocess)


def decode_original(data: bytes, channels: Channels = "rgb", *, decoder: Decoder = "pil") -> Tensor:
    """The whole upright image at its own resolution.

    Args:
        data: an encoded image.
        channels: `grey` gives one channel, everything else RGB.
        decoder: as in `decode`.

    Returns:
        (channel, y, x) uint8, channels-last in memory.

    Raises:
        BadImage: as in `decode`, but for kind `shape` of images too long and thin to be resized.
        UsageError: when simplejpeg is asked for and not installed.
    """
    return _tensor(_guard(lambda: _decode_pixels(data, channels, decoder)))


def _decode_pixels(data: bytes, channels: Channels, decoder: Decoder) -> NDArray[np.uint8]:
    """(y, x, channel) pixels of the whole upright image."""
    pixels = _decode_fast(data) if decoder == "simplejpeg" and is_jpeg(data) else None
    if pixels is None:
        pixels = np.asarray(open_original(data))
    if channels == "grey":
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    return pixels


def to_network(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    """Resize and crop (channel, y, x) uint8 pixels of an upright original.

    Returns:
        (channel, preprocess.height, preprocess.width) uint8, channels-last in memory.

    Raises:
        BadImage: of kind `shape`, when the image is so long and thin that it would not fit.
    """
    height, width = pixels.shape[1:]
    resized_width, resized_height = preprocess.resized(width, height)
    if resized_width * resized_height > MAX_RESIZED_PIXELS:
        raise BadImage(
            "shape",
            f"a {width}x{height} image would be resized to {resized_width}x{resized_height}, more "
            f"than {MAX_RESIZED_PIXELS:,} pixels",
        )
    if (resized_width, resized_height) != (width, height):
        # On a CPU torch resizes bytes themselves; elsewhere it only has floating point.
        resize = _resize if pixels.device.type == "cpu" else _resize_in_float
        pixels = resize(pixels, (resized_height, resized_width), preprocess.interpolation)
    if preprocess.fit != "squash":
        left, top = preprocess.crop_offset(width, height)
        pixels = pixels[:, top : top + preprocess.height, left : left + preprocess.width]
    return pixels.permute(1, 2, 0).contiguous().permute(2, 0, 1)


def _resize(pixels: Tensor, size: tuple[int, int], interpolation: Interpolation) -> Tensor:
    """(channel, y, x) with antialiasing, in the type of the pixels."""
    return functional.interpolate(
        pixels[None], size=size, mode=interpolation, antialias=True, align_corners=False
    )[0]


def _resize_in_float(pixels: Tensor, size: tuple[int, int], interpolation: Interpolation) -> Tensor:
    """As `_resize` of uint8, computed in float32: some values differ by 1."""
    return _resize(pixels.float(), size, interpolation).round_().clamp_(0, 255).to(torch.uint8)


def _tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """A (channel, y, x) view of (y, x, channel) pixels, channels-last in memory."""
    if not pixels.flags.writeable:
        pixels = pixels.copy()
    return torch.from_numpy(pixels).permute(2, 0, 1)


def open_original(data: bytes) -> Image.Image:
    """The whole photograph, upright, as RGB.

    Raises:
        BadImage: as in `decode`.
    """
    return _guard(lambda: _open_upright(data))


def _open_upright(data: bytes) -> Image.Image:
    if not data:
        raise BadImage("empty", "0 bytes")
    orientation = 1
    missing = ""
    if is_jpeg(data):
        file = read_jpeg(data)
        data, orientation, missing = file.data, file.orientation, file.missing
    image = _load(data)
    if missing:
        raise BadImage("truncated", f"the image is cut off: {missing}")
    if not is_jpeg(data):
        orientation = _orientation(image)
    image = _to_rgb(image)
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def _load(data: bytes) -> Image.Image:
    _set_warnings()
    image = Image.open(io.BytesIO(data), formats=_formats())
    _check_size(*image.size)
    image.load()
    return image


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadImage("bomb", f"{width}x{height} pixels are more than the {MAX_PIXELS:,} an image may have")
    if width < 1 or height < 1:
        raise BadImage("shape", f"{width}x{height} pixels")


@functools.cache
def _formats() -> tuple[str, ...]:
    """The `FORMATS` that this Pillow supports."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@functools.cache
def _set_warnings() -> None:
    """Make Pillow's decompression bomb warning an error; ignore those about metadata."""
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def _guard(action: Callable[[], T]) -> T:
    """Convert every exception that a decoder raises on a damaged file into a BadImage."""
    try:
        return action()
    except (MaxactError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage("bomb", str(error)) from error
    except UnidentifiedImageError as error:
        raise BadImage("unknown", "no image format that can be read starts like this") from error
    except Exception as error:  # Pillow's plugins raise almost anything on damaged data
        reason = str(error) or type(error).__name__
        if "truncated" in reason.lower() or isinstance(error, EOFError):
            raise BadImage("truncated", f"the image is cut off: {reason}") from error
        raise BadImage("corrupt", f"cannot be decoded: {reason}") from error


def _orientation(image: Image.Image) -> int:
    """The orientation in the EXIF block of PNG or WebP; Pillow applies that of TIFF itself."""
    exif: Any = image.info.get("exif")
    if image.format == "TIFF" or not isinstance(exif, bytes):
        return 1
    return exif_orientation(exif)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode == "F":
        raise BadImage("mode", "floating-point pixels, whose range nobody states; save as 8 bit")
    if image.mode.startswith("I"):
        return _sixteen_bit(image).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        with_alpha = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return image.convert("RGB")


def _sixteen_bit(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255; Pillow's own conversion would clip everything above 255."""
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535 or (image.mode == "I" and image.format not in SIXTEEN_BIT):
        raise BadImage("mode", f"integer pixels from {low} to {high}; expected 8 or 16 bit")
    scaled = (values.astype(np.uint32) * 255 + 32767) // 65535
    return Image.fromarray(scaled.astype(np.uint8))


def _decode_fast(data: bytes) -> NDArray[np.uint8] | None:
    """Upright RGB decoded by simplejpeg; None where the image is left to PIL."""
    try:
        import simplejpeg
    except ImportError as error:
        raise UsageError(
            "the simplejpeg decoder is not installed; pip install 'maxact[fast]', or use pil"
        ) from error
    file = read_jpeg(data)
    if file.missing:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours in ("CMYK", "YCCK"):
            return None
        _check_size(width, height)
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="RGB")
    except ValueError:  # PIL decides whether it is damaged
        return None
    if file.orientation in TURNS:
        return np.asarray(Image.fromarray(pixels).transpose(TURNS[file.orientation]))
    return pixels
