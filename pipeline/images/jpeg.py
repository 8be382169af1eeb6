"""Reads the markers of a JPEG file: its orientation, and whether its data is complete.

libjpeg fills the missing part of an image with grey and only warns, and PIL drops the warning when
the file ends in an end-of-image marker. So the file is prepared here before it is decoded. In a file
of one scan, everything after the scan is replaced by a few zero bytes: enough to finish a complete
scan, too few for an incomplete one, which becomes an error. The scans of a progressive file are
counted: they must contain every component down to its last bit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["JpegFile", "exif_orientation", "is_jpeg", "read_jpeg"]

START = b"\xff\xd8\xff"
"""The first three bytes of every JPEG file."""

PADDING = bytes(16)
"""Zeros that let the decoder's look-ahead (up to 8 bytes) reach the end of a complete scan."""

INSIDE_SCAN = np.zeros(256, dtype=np.bool_)
"""Bytes that may follow 0xFF inside a scan: a stuffed zero, a restart marker, a fill byte."""
INSIDE_SCAN[[0x00, *range(0xD0, 0xD8), 0xFF]] = True

BASELINE, PROGRESSIVE = (0xC0, 0xC1), (0xC2,)
"""Frame markers of sequential and of progressive Huffman coding (ITU-T T.81, table B.1)."""

FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""All frame markers."""

SCAN, EXIF_SEGMENT = 0xDA, 0xE1
"""Start of scan, and the application segment that holds EXIF."""

ORIENTATION = 0x0112
"""The EXIF tag; 1 is upright, 2 to 8 are mirrored or rotated."""


@dataclass(frozen=True, slots=True)
class JpegFile:
    """A JPEG file prepared for a decoder.

    Args:
        data: to be decoded; fails where the original file would give a partly grey image.
        orientation: 1 to 8, the EXIF tag.
        missing: what a progressive file lacks, or an empty string.
        height: rows as they are stored; 0 if the markers are damaged.
        width: columns likewise.
        components: number of colour components; 0 if the markers are damaged.
        ends: whether a marker follows the last scan, so that the file is not cut off in it.
    """

    data: bytes
    orientation: int
    missing: str
    height: int = 0
    width: int = 0
    components: int = 0
    ends: bool = False


@dataclass(frozen=True, slots=True)
class _Scan:
    components: bytes
    first: int
    last: int
    low: int


def is_jpeg(data: bytes) -> bool:
    """Whether the file starts as a JPEG does."""
    return data[:3] == START


def read_jpeg(data: bytes) -> JpegFile:
    """Read the markers and prepare the file; one whose markers are damaged is returned unchanged."""
    orientation, frame, scans = 1, None, []
    exif = slice(0)
    components = b""
    height = width = 0
    end = len(data)
    markers = _markers(data)
    try:
        for marker, start, stop in _segments(data, markers):
            if marker == EXIF_SEGMENT and data[start : start + 6] == b"Exif\0\0":
                orientation = exif_orientation(data[start:stop])
                exif = slice(start - 4, stop)
            elif marker in FRAMES:
                frame = marker
                components = data[start + 6 : stop : 3]
                height = int.from_bytes(data[start + 1 : start + 3], "big")
                width = int.from_bytes(data[start + 3 : start + 5], "big")
            elif marker == SCAN:
                count = data[start]
                first, last, bits = data[start + 1 + 2 * count : start + 4 + 2 * count]
                chosen = data[start + 1 : start + 1 + 2 * count : 2]
                scans.append(_Scan(chosen, first, last, bits & 15))
                end = stop
    except (IndexError, ValueError):
        frame, height, width, components = None, 0, 0, b""
    ends = _marker_from(markers, end) if frame is not None and scans else None
    single = len(scans) == 1 and len(scans[0].components) == len(components)
    if frame in BASELINE and single and ends is not None:
        data = data[:ends] + PADDING
    if exif.stop:  # Pillow reads a resolution from it and fails on invalid values
        data = data[: exif.start] + data[exif.stop :]
    missing = _missing(components, scans) if frame in PROGRESSIVE else ""
    return JpegFile(data, orientation, missing, height, width, len(components), ends is not None)


def _segments(data: bytes, markers: NDArray[np.intp]) -> Iterator[tuple[int, int, int]]:
    """(marker, first byte, byte after the last) of each segment, up to the end of the image."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ValueError("no marker where one must be")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xD9:
            return
        start = at + 4
        stop = at + 2 + int.from_bytes(data[at + 2 : start], "big")
        yield marker, start, stop
        at = stop
        if marker == SCAN:
            found = _marker_from(markers, at)
            if found is None:
                return
            at = found


def _markers(data: bytes) -> NDArray[np.intp]:
    """Positions of all 0xFF bytes that would end a scan."""
    values = np.frombuffer(data, dtype=np.uint8)
    at = np.flatnonzero(values[:-1] == 0xFF)
    return at[~INSIDE_SCAN[values[at + 1]]]


def _marker_from(markers: NDArray[np.intp], at: int) -> int | None:
    """The first of these positions that is not before a byte."""
    found = int(np.searchsorted(markers, at))
    return int(markers[found]) if found < len(markers) else None


def _missing(components: bytes, scans: list[_Scan]) -> str:
    """What a progressive file lacks: a component without the last bit of its DC or AC part."""
    for component in components:
        done = [scan for scan in scans if component in scan.components and scan.low == 0]
        if not any(scan.first == 0 for scan in done):
            return "the scans end before the last one"
        covered = {at for scan in done for at in range(max(scan.first, 1), scan.last + 1)}
        if len(covered) < 63:
            return "the scans end before the last one"
    return ""


def exif_orientation(exif: bytes) -> int:
    """The orientation tag of an EXIF block; 1 when it is missing or invalid.

    Args:
        exif: with or without the leading `Exif\\0\\0`.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, at)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, at + 2 + 12 * entry)
            if tag == ORIENTATION:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
