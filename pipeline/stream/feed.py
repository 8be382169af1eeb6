"""Shards in, decoded images out: a reader thread and a decoding pool ahead of the network.

Order is kept. Every queue is bounded, so memory does not grow with the dataset, and closing the
generator stops both. Images change hands in chunks, since every change of hands between threads
costs some 50 microseconds. The reader, which mostly waits, also computes the digests of the bytes.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from torch import Tensor

from pipeline.choices import Decoder
from pipeline.data.dataset import BadSample, Sample, Shard
from pipeline.errors import BadImage
from pipeline.images.decode import decode
from pipeline.images.hashes import byte_digest, perceptual_hashes
from pipeline.images.preprocess import Preprocess

__all__ = ["Bad", "Event", "Good", "ShardEnd", "feed"]

_POLL_S = 0.1
"""How often a full queue looks whether the consumer has gone."""

CHUNK = 8
"""Images that a decoding thread is handed at once."""

CHUNKS_PER_WORKER = 2
"""Chunks decoded ahead, per decoding thread: half a default batch."""


@dataclass(frozen=True, slots=True)
class Good:
    """A decoded image: pixels uint8 (channel, y, x), sizes of the original in pixels."""

    shard: str
    position: int
    key: str
    label: str | None
    origin: str | None
    offset: int
    size: int
    pixels: Tensor
    width: int
    height: int
    digest: int
    phash: int | None


@dataclass(frozen=True, slots=True)
class Bad:
    """A sample that cannot be used."""

    shard: str
    key: str
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class ShardEnd:
    """All of a shard has been handed out."""

    shard: Shard


Event = Good | Bad | ShardEnd
_Read = tuple[Sample, int] | BadSample
"""What the reader hands on: a sample and the digest of its bytes."""

_Item = Future[list[Good | Bad]] | ShardEnd | BaseException | None


def feed(
    shards: Sequence[Shard],
    preprocess: Preprocess,
    *,
    decoder: Decoder = "pil",
    workers: int | None = None,
) -> Generator[Event]:
    """Read and decode shards, one after another, ahead of whoever iterates.

    Args:
        shards: in the order in which they are handed out.
        preprocess: the geometry to decode to.
        decoder: what decodes JPEGs.
        workers: decoding threads; None for one per core.

    Yields:
        The samples of each shard in order, then its `ShardEnd`.

    Raises:
        ShardError: when a shard is damaged, after its earlier samples were handed out.
    """
    workers = workers or os.cpu_count() or 1
    ahead: queue.Queue[_Item] = queue.Queue(maxsize=CHUNKS_PER_WORKER * workers)
    gone = threading.Event()

    def put(item: _Item) -> None:
        while True:
            if gone.is_set():
                raise _Gone
            with contextlib.suppress(queue.Full):
                ahead.put(item, timeout=_POLL_S)
                return

    def read(pool: ThreadPoolExecutor) -> None:
        try:
            for shard in shards:
                for chunk in _chunks(shard):
                    put(pool.submit(_decode_all, shard.name, chunk, preprocess, decoder))
                put(ShardEnd(shard))
            put(None)
        except _Gone:
            pass
        except BaseException as error:  # handed to the consumer, which raises it
            with contextlib.suppress(_Gone):
                put(error)

    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        reader = threading.Thread(target=read, args=(pool,), name="reader", daemon=True)
        reader.start()
        try:
            while (item := ahead.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                if isinstance(item, ShardEnd):
                    yield item
                else:
                    yield from item.result()
        finally:
            gone.set()
            reader.join()
            pool.shutdown(wait=True, cancel_futures=True)


class _Gone(Exception):
    """The consumer takes no more; never leaves this module."""


def _chunks(shard: Shard) -> Iterator[list[_Read]]:
    """A shard's samples, some at a time; those before a failure come before it."""
    chunk: list[_Read] = []
    try:
        for sample in shard.samples():
            if isinstance(sample, BadSample):
                chunk.append(sample)
            else:
                chunk.append((sample, byte_digest(sample.data)))
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    except Exception:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def _decode_all(
    shard: str, chunk: Sequence[_Read], preprocess: Preprocess, decoder: Decoder
) -> list[Good | Bad]:
    done = [
        Bad(shard, item.key, item.kind, item.message)
        if isinstance(item, BadSample)
        else _decode(shard, *item, preprocess, decoder)
        for item in chunk
    ]
    # After decoding, the first picture takes three times as long to hash as the next ones.
    pixels = [item.pixels for item in done if isinstance(item, Good)]
    hashes = iter(perceptual_hashes(pixels))
    return [replace(item, phash=next(hashes)) if isinstance(item, Good) else item for item in done]


def _decode(shard: str, sample: Sample, digest: int, preprocess: Preprocess, decoder: Decoder) -> Good | Bad:
    try:
        decoded = decode(sample.data, preprocess, decoder=decoder)
    except BadImage as error:
        return Bad(shard, sample.key, error.kind, str(error))
    except Exception as error:
        error.add_note(f"while decoding {sample.key!r} of shard {shard}")
        raise
    return Good(
        shard,
        sample.position,
        sample.key,
        sample.label,
        sample.origin,
        sample.offset,
        len(sample.data),
        decoded.pixels,
        decoded.width,
        decoded.height,
        digest,
        None,
    )
