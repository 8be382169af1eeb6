"""Shards in, decoded images out: a reader thread and a decoding pool ahead of the network.

Order is kept. Every queue is bounded, so memory does not grow with the dataset, and closing the
generator stops both.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from torch import Tensor

from pipeline.config import Decoder
from pipeline.decode import decode
from pipeline.duplicates import byte_digest, perceptual_hash
from pipeline.errors import BadImage
from pipeline.geometry import Preprocess
from pipeline.sources import BadSample, Sample, Shard

__all__ = ["Bad", "Event", "Good", "ShardEnd", "feed"]

_POLL_S = 0.1
"""How often a full queue looks whether the consumer has gone."""

AHEAD_PER_WORKER = 16
"""Images decoded ahead, per decoding thread: half a default batch."""


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
    ahead: queue.Queue[Future[Good | Bad] | Bad | ShardEnd | BaseException | None]
    ahead = queue.Queue(maxsize=AHEAD_PER_WORKER * workers)
    gone = threading.Event()

    def put(item: Future[Good | Bad] | Bad | ShardEnd | BaseException | None) -> bool:
        while not gone.is_set():
            with contextlib.suppress(queue.Full):
                ahead.put(item, timeout=_POLL_S)
                return True
        return False

    def read(pool: ThreadPoolExecutor) -> None:
        try:
            for shard in shards:
                for sample in shard.samples():
                    if isinstance(sample, BadSample):
                        item = Bad(shard.name, sample.key, sample.kind, sample.message)
                        going = put(item)
                    else:
                        going = put(pool.submit(_decode, shard.name, sample, preprocess, decoder))
                    if not going:
                        return
                put(ShardEnd(shard))
            put(None)
        except BaseException as error:  # handed to the consumer, which raises it
            put(error)

    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        reader = threading.Thread(target=read, args=(pool,), name="reader", daemon=True)
        reader.start()
        try:
            while (item := ahead.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item.result() if isinstance(item, Future) else item
        finally:
            gone.set()
            reader.join()
            pool.shutdown(wait=True, cancel_futures=True)


def _decode(shard: str, sample: Sample, preprocess: Preprocess, decoder: Decoder) -> Good | Bad:
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
        byte_digest(sample.data),
        perceptual_hash(decoded.pixels),
    )
