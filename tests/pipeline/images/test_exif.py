"""The orientation in an EXIF block, as cameras and programs write it."""

from __future__ import annotations

import struct

import pytest

from pipeline.images.jpeg import ORIENTATION, exif_orientation


def exif(*entries: tuple[int, int, int], order: str = "<", claimed: int | None = None) -> bytes:
    """A block with (tag, type, value) entries."""
    start = b"Exif\0\0" + (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    body = b"".join(struct.pack(order + "HHIHH", tag, kind, 1, value, 0) for tag, kind, value in entries)
    return start + struct.pack(order + "H", len(entries) if claimed is None else claimed) + body


@pytest.mark.parametrize("order", ["<", ">"])
def test_it_is_found_among_others(order: str) -> None:
    others = [(0x010F, 2, 7), (0x0110, 2, 7)]
    for orientation in range(1, 9):
        block = exif(*others, (ORIENTATION, 3, orientation), (0x0131, 2, 1), order=order)
        assert exif_orientation(block) == exif_orientation(block[6:]) == orientation


def test_without_a_valid_one_nothing_is_turned() -> None:
    assert exif_orientation(exif((0x010F, 2, 7))) == 1
    assert exif_orientation(exif()) == 1
    for wrong in ((ORIENTATION, 3, 0), (ORIENTATION, 3, 9), (ORIENTATION, 4, 6)):
        assert exif_orientation(exif(wrong)) == 1
    assert exif_orientation(exif((0x010F, 2, 7), claimed=900)) == 1
    for block in (b"", b"Exif\0\0", b"II*\0", b"XX*\0\0\0\0\0"):
        assert exif_orientation(block) == 1
