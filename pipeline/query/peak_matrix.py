"""The peaks of all images of an index that keeps them, read from the files of its parts.

matrix = open_matrix(Path("out/demo"), run, units=3000)
matrix.units(slice(17, 18))       # (1, image): one unit over all images
matrix.images(np.array([5]))      # (1, unit): one image over all units

Rows are images in the order of `images.parquet`, by image_id: shards by name, and inside of a shard as
they were read. Which parts they lie in does not matter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.choices import PeakFormat
from pipeline.errors import DamagedFile, StoreError, UnreadableFile
from pipeline.store.peak_files import KEPT_PEAKS, PEAK_TYPES, PEAKS_FILE, PeakFile
from pipeline.store.run_record import COMMIT, find_problem
from pipeline.store.seals import JSON

__all__ = ["PeakMatrix", "keeps_peaks", "open_matrix"]

_PART = re.compile(r"[0-9a-f]{16}")

_REMEDY = "run the same `maxact index` again"


def keeps_peaks(run: Mapping[str, Any]) -> bool:
    """Whether the run of a run.json keeps the peaks of all images."""
    return _kept(run) is not None


@dataclass(frozen=True, slots=True)
class _Segment:
    """Images that lie together in the matrix and in a part.

    Args:
        file: the part's.
        place: of the first of them in the part.
        row: of the first of them in the matrix.
        count: number of images.
    """

    file: PeakFile
    place: int
    row: int
    count: int


@dataclass(frozen=True, slots=True)
class PeakMatrix:
    """Peaks of all images and units; see this module.

    Args:
        image_count: rows.
        unit_count: of all layers together, in forward order.
        kind: number format on disk.
    """

    image_count: int
    unit_count: int
    kind: np.dtype[Any]
    _segments: tuple[_Segment, ...]

    def units(self, units: slice) -> npt.NDArray[np.float32]:
        """(unit, image) peaks of neighbouring units, numbered over all layers.

        Raises:
            UnreadableFile: when a file cannot be read.
        """
        found = np.empty((units.stop - units.start, self.image_count), np.float32)
        for file in {id(segment.file): segment.file for segment in self._segments}.values():
            file.prefetch(units)
        last, columns = None, found
        for segment in self._segments:
            if segment.file is not last:
                last, columns = segment.file, segment.file.read_units(units)
            rows = slice(segment.row, segment.row + segment.count)
            found[:, rows] = columns[:, segment.place : segment.place + segment.count]
        return found

    def images(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """(image, unit) peaks of some images, by their rows.

        Raises:
            UnreadableFile: when a file cannot be read.
        """
        found = np.empty((len(rows), self.unit_count), np.float32)
        for segment in self._segments:
            inside = ((rows >= segment.row) & (rows < segment.row + segment.count)).nonzero()[0]
            if len(inside):
                found[inside] = segment.file.read_images(rows[inside] - segment.row + segment.place)
        return found


def open_matrix(out: Path, run: Mapping[str, Any], units: int) -> PeakMatrix:
    """Open the peaks of a finished index.

    Args:
        out: folder of the index.
        run: content of its run.json.
        units: of all layers together.

    Raises:
        StoreError: when the index keeps none.
        DamagedFile: when a file of a part is missing, or is not what it must be.
        UnreadableFile: when one cannot be read, which may pass.
    """
    kept = _kept(run)
    if kept is None:
        raise StoreError(f"{out} keeps the peaks of listed images only; index again with --keep peaks")
    shards: list[tuple[str, int, PeakFile, int]] = []
    for name in run.get("parts", ()):
        if not _PART.fullmatch(name):
            raise DamagedFile(f"{out / 'run.json'} names the part {name!a}, which is none; {_REMEDY}")
        place, path = 0, out / "parts" / f"{name}.json"
        records = _read_shards(path)
        file = PeakFile.open(
            path.with_suffix("") / PEAKS_FILE, sum(count for _, count in records), units, kept
        )
        for shard, count in records:
            shards.append((shard, count, file, place))
            place += count
    shards.sort(key=lambda shard: shard[0])
    names, images = {shard[0] for shard in shards}, sum(shard[1] for shard in shards)
    if len(names) != len(shards) or images != run["counts"]["images"]:
        raise DamagedFile(
            f"the parts of {out} have {images:,} images, and the index {run['counts']['images']:,}; {_REMEDY}"
        )
    segments = _join(shards)
    by_file = sorted(segments, key=lambda segment: (str(segment.file.path), segment.place))
    return PeakMatrix(images, units, PEAK_TYPES[kept], tuple(by_file))


def _kept(run: Mapping[str, Any]) -> PeakFormat | None:
    found = run.get("fields", {}).get(KEPT_PEAKS)
    return found if isinstance(found, str) and found in PEAK_TYPES else None


def _join(shards: list[tuple[str, int, PeakFile, int]]) -> list[_Segment]:
    """The rows of shards, with neighbours that are neighbours in their part as well as one segment."""
    segments: list[_Segment] = []
    row = 0
    for _, count, file, place in shards:
        last = segments[-1] if segments else None
        if last is not None and last.file is file and last.place + last.count == place:
            segments[-1] = _Segment(file, last.place, last.row, last.count + count)
        else:
            segments.append(_Segment(file, place, row, count))
        row += count
    return segments


def _read_shards(path: Path) -> list[tuple[str, int]]:
    """The shards of a part and their numbers of images, from its commit file.

    Raises:
        DamagedFile: when it is missing, or not as it was written.
        UnreadableFile: when it cannot be read, which may pass.
    """
    try:
        data = path.read_bytes()
        content = json.loads(data)
        problem = find_problem(COMMIT, content)
        if problem or not JSON.is_intact(data):
            raise ValueError(problem or "its SHA-256 differs")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamagedFile(f"{path} is missing, and with it the peaks of its images; {_REMEDY}") from error
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"{path} is not as it was written ({error}); {_REMEDY}") from error
    return [(shard["name"], shard["images"]) for shard in content["shards"]]
