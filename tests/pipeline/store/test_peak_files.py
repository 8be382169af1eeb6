"""Files of peaks: what is written is read, by unit and by image, and nothing else is taken for one."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.choices import PeakFormat
from pipeline.errors import DamagedFile, StoreError, UnreadableFile
from pipeline.store import peak_files
from pipeline.store.files import sha256_file
from pipeline.store.peak_files import PEAK_TYPES, PeakFile, PeakSpill, peak_bytes


def write(folder: Path, peaks: np.ndarray[Any, Any], kept: PeakFormat, block: int = 3) -> Path:
    path = folder / "peaks.npy"
    with PeakSpill(folder, peaks.shape[1], kept) as spill:
        for first in range(0, len(peaks), block):
            spill.add(peaks[first : first + block])
        assert spill.write(path) == sha256_file(path)
    return path


@settings(max_examples=60, deadline=None)
@given(
    images=st.integers(0, 14),
    units=st.integers(1, 5),
    tile=st.integers(1, 6),
    block=st.integers(1, 7),
    kept=st.sampled_from(["float16", "float32"]),
    data=st.data(),
)
def test_both_directions_give_what_was_written(
    images: int,
    units: int,
    tile: int,
    block: int,
    kept: PeakFormat,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("peaks")
    peaks = np.random.default_rng(images * 31 + units).normal(0, 9, (images, units)).astype(PEAK_TYPES[kept])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peak_files, "TILE_IMAGES", tile)
        path = write(folder, peaks, kept, block)
        file = PeakFile.open(path, images, units, kept)
        first = data.draw(st.integers(0, units - 1))
        last = data.draw(st.integers(first + 1, units))
        np.testing.assert_array_equal(file.read_units(slice(first, last)), peaks[:, first:last].T)
        rows = np.array(data.draw(st.lists(st.integers(0, images - 1)) if images else st.just([])), np.int64)
        np.testing.assert_array_equal(file.read_images(rows), peaks[rows])
    whole = np.load(path)
    by_image = whole.transpose(0, 2, 1).reshape(-1, units)
    np.testing.assert_array_equal(by_image[:images], peaks)
    assert not by_image[images:].any(), "the bytes of a part depend on its peaks only"
    assert whole.shape[0] * whole.shape[2] < images + max(whole.shape[0], 1), "fewer empty rows than tiles"
    assert list(folder.iterdir()) == [path]


def test_a_file_is_flushed_to_the_disk_when_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[int, int]] = []

    def fsync(descriptor: int) -> None:
        file = os.fstat(descriptor)
        flushed.append((file.st_ino, file.st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    file = write(tmp_path, np.ones((5, 2), np.float32), "float32").stat()
    assert flushed == [(file.st_ino, file.st_size)]


@pytest.mark.parametrize("kept", ["float16", "float32"])
@pytest.mark.parametrize("images", [0, 1, 1024, 1025, 99_999])
def test_the_header_is_numpys(tmp_path: Path, images: int, kept: PeakFormat) -> None:
    with PeakSpill(tmp_path, 1, kept) as spill:
        spill.add(np.zeros((images, 1), PEAK_TYPES[kept]))
        spill.write(tmp_path / "peaks.npy")
    np.save(tmp_path / "numpy.npy", np.load(tmp_path / "peaks.npy", allow_pickle=False))
    assert (tmp_path / "peaks.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_the_file_is_as_large_as_is_announced(tmp_path: Path) -> None:
    peaks = np.zeros((3000, 7), np.float16)
    size = write(tmp_path, peaks, "float16", 1024).stat().st_size
    assert peak_bytes(3000, 7, "float16") == 3000 * 7 * 2
    assert size <= 3000 * 7 * 2 * 1.01 + 128


@pytest.mark.parametrize(
    "damage", ["missing", "empty", "text", "short", "long", "other shape", "pickle", "type"]
)
def test_another_file_is_no_file_of_peaks(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path, np.ones((6, 4), np.float16), "float16")
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "other shape":
        np.save(path, np.ones((1, 6, 4), np.float16))
    elif damage == "pickle":
        np.save(path, np.array([{}], object))
    elif damage == "type":
        np.save(path, np.ones((1, 4, 6), np.float32))
    else:
        changed = {"empty": b"", "text": b"no array", "short": data[:-1], "long": data + b"0"}
        path.write_bytes(changed[damage])
    with pytest.raises(DamagedFile, match=r"peaks\.npy .*run the same `maxact index` again") as caught:
        PeakFile.open(path, 6, 4, "float16")
    assert "\n" not in str(caught.value)


def test_an_error_of_the_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = PeakFile.open(write(tmp_path, np.ones((6, 4), np.float16), "float16"), 6, 4, "float16")

    def fail(*words: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.pread", fail)
    for read in (lambda: file.read_units(slice(0, 1)), lambda: file.read_images(np.array([1]))):
        with pytest.raises(UnreadableFile, match=r"peaks\.npy cannot be read: Input/output error"):
            read()


def test_a_file_that_shrinks_while_it_is_open_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path, np.ones((6, 4), np.float16), "float16")
    file = PeakFile.open(path, 6, 4, "float16")
    path.write_bytes(path.read_bytes()[:140])
    with pytest.raises(UnreadableFile, match="shorter than when it was opened"):
        file.read_units(slice(0, 4))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot keep peaks in .*file"):
        PeakSpill(tmp_path / "file", 3, "float16")


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    class Full:
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self) -> None:
            pass

    with PeakSpill(tmp_path, 3, "float16") as spill:
        file, spill._file = spill._file, Full()  # type: ignore[assignment]
        file.close()
        with pytest.raises(StoreError, match=r"No space left on device"):
            spill.add(np.zeros((2, 3), np.float32))


def test_a_disk_that_gives_a_few_bytes_at_once_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    file = PeakFile.open(write(tmp_path, peaks, "float32"), 6, 4, "float32")
    read = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, size, at: read(descriptor, min(size, 5), at))
    np.testing.assert_array_equal(file.read_units(slice(0, 4)), peaks.T)


def test_a_file_that_cannot_be_opened_is_not_damaged(tmp_path: Path) -> None:
    path = write(tmp_path, np.ones((6, 4), np.float16), "float16")
    file = PeakFile.open(path, 6, 4, "float16")
    path.unlink()
    with pytest.raises(UnreadableFile, match=r"peaks\.npy cannot be read: No such file"):
        file.read_units(slice(0, 1))
    path.mkdir()
    with pytest.raises(UnreadableFile, match=r"peaks\.npy cannot be read: Is a directory"):
        PeakFile.open(path, 6, 4, "float16")
