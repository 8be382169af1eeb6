"""Images of an index: chosen by hash, read back from the dataset, and decoded.

for image_id, image in read_images(index, sample_image_ids(index, 64), open_original):
    print(image_id, image.size)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from pipeline.errors import BadImage, MaxactError, SourceError, StoreError, UntrustedIndex
from pipeline.images.preprocess import Preprocess
from pipeline.progress import Reporter
from pipeline.query.index import Index
from pipeline.query.originals import ChangedImage

__all__ = ["ShownImages", "read_images", "sample_image_ids"]

T = TypeVar("T")

Problem = Callable[[int, MaxactError], None]
"""Called with the image_id and the error of an image that is left out; may raise."""

_THUMBNAILS = """
SELECT image_id, jpeg FROM thumbnails
WHERE image_id IN (SELECT unnest($ids)) ORDER BY image_id
"""

_THUMBNAILS_READ = 256
"""Thumbnails that are in memory at a time."""

_BY_HASH = "SELECT image_id FROM images ORDER BY hash(image_id), image_id LIMIT $count"


def sample_image_ids(index: Index, count: int) -> list[int]:
    """Up to `count` image_ids, chosen by hash: for one dataset always the same."""
    return [row[0] for row in index.sql(_BY_HASH, count=count).rows]


def read_images(
    index: Index,
    image_ids: Iterable[int],
    decode: Callable[[bytes], T],
    *,
    problem: Problem | None = None,
) -> Iterator[tuple[int, T]]:
    """Read images back from the indexed dataset and decode them, in rising order of image_id.

    Args:
        index: open.
        image_ids: which; each is read once.
        decode: from the encoded image, such as `pipeline.images.decode.open_original`.
        problem: called for an image that cannot be read (`SourceError`), has changed
            (`ChangedImage`) or cannot be decoded (`BadImage`); when it returns, the image is left
            out. By default such an image is an error.

    Yields:
        The image_id and what `decode` returned.

    Raises:
        QueryError: when the index has no such image.
        SourceError: when the dataset has moved or changed.
        ChangedImage: when an image has other bytes than when it was indexed.
        StoreError: when an image can no longer be decoded.
    """
    wanted = sorted(set(image_ids))
    report = problem or partial(_raise_problem, index)
    files = index.iterate_bytes(wanted)
    for number, image_id in enumerate(wanted):
        try:
            _, data = next(files)
        except (SourceError, ChangedImage) as error:
            report(image_id, error)
            files = index.iterate_bytes(wanted[number + 1 :])  # an error has ended the last one
            continue
        try:
            decoded = decode(data)
        except BadImage as error:
            report(image_id, error)
        else:
            yield image_id, decoded


class ShownImages:
    """Images to look at: the originals, or the thumbnails in the index where the originals are missing.

    Args:
        index: open.
        reporter: told once when thumbnails are used.
    """

    def __init__(self, index: Index, reporter: Reporter) -> None:
        self.index, self.reporter = index, reporter
        self._missing: SourceError | UntrustedIndex | None = None

    def read(
        self, image_ids: Iterable[int], decode: Callable[[bytes, Preprocess], T]
    ) -> Iterator[tuple[int, T]]:
        """Read and decode images, in rising order of image_id.

        Args:
            image_ids: which; each is read once.
            decode: from an encoded image and the preprocessing that gives the network's input from it.
                A thumbnail shows the input's area only.

        Raises:
            QueryError, ChangedImage, StoreError: as `read_images`.
            SourceError: when an original cannot be read, and the index has no thumbnail of it, or was
                opened with a place of the dataset.
            UntrustedIndex: likewise, when the index is not trusted.
        """
        rest = sorted(set(image_ids))
        if self._missing is None:
            originals = read_images(self.index, rest, partial(_swapped, decode, self.index.preprocess))
            count = 0
            try:
                for image_id, decoded in originals:
                    yield image_id, decoded
                    count += 1
                return
            except (SourceError, UntrustedIndex) as error:
                if self.index.data:
                    raise  # a place that was given for this call is not passed over
                rest = rest[count:]
                self._missing = error
                if self._thumbnails(rest[:1]):
                    self.reporter.note(
                        f"images are shown from the thumbnails in {self.index.out}, as {error}"
                    )
        preprocess = replace(self.index.preprocess, fit="squash")
        for first in range(0, len(rest), _THUMBNAILS_READ):
            chunk = rest[first : first + _THUMBNAILS_READ]
            found = self._thumbnails(chunk)
            if len(found) < len(chunk):
                raise self._missing
            for image_id, jpeg in found:
                try:
                    yield image_id, decode(jpeg, preprocess)
                except BadImage as error:
                    raise StoreError(
                        f"the thumbnail of image {image_id} in {self.index.out} cannot be decoded ({error}); "
                        "delete thumbnails.parquet and index again with --keep patches"
                    ) from error

    def _thumbnails(self, image_ids: Sequence[int]) -> list[tuple[int, bytes]]:
        return [(row[0], row[1]) for row in self.index.sql(_THUMBNAILS, ids=list(image_ids)).rows]


def _swapped(decode: Callable[[bytes, Preprocess], T], preprocess: Preprocess, data: bytes) -> T:
    return decode(data, preprocess)


def _raise_problem(index: Index, image_id: int, error: MaxactError) -> None:
    if isinstance(error, BadImage):
        ((key,),) = index.sql("SELECT key FROM images WHERE image_id = $id", id=image_id).rows
        raise StoreError(
            f"image {key} can no longer be decoded ({error}); "
            "the dataset has changed since it was indexed, index again"
        ) from error
    raise error
