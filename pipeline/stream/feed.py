"""Shards in, decoded images out: a reader thread and a decoding pool ahead of the network.

Order is kept. Every queue is bounded, so memory does not grow with the dataset, and closing the
generator stops the threads. Images pass between threads in chunks, since each handover costs some
50 microseconds. The reader, which mostly waits, also computes the digests of the bytes.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from pipeline.choices import Decoder
from pipeline.data.content import ShardReader
from pipeline.data.dataset import BadSample, Sample, Shard
from pipeline.errors import BadImage
from pipeline.images.decode import decode_original, to_network
from pipeline.images.hashes import perceptual_hashes
from pipeline.images.nvjpeg import BatchDecoder, BatchImage
from pipeline.images.preprocess import Preprocess

__all__ = ["Event", "ShardEnd", "feed"]

_POLL_S = 0.1
"""Seconds between two checks of a full queue whether the consumer has stopped."""

CHUNK = 8
"""Images given to a decoding thread at once."""

GPU_CHUNK = 64
"""Images given to a GPU at once: nvJPEG decodes batches faster than single files."""

CHUNK_BYTES = 1 << 24
"""Bytes (16 MiB) of encoded images from which a chunk is complete with fewer, which bounds memory."""

CHUNKS_PER_WORKER = 2
"""Chunks decoded ahead, per decoding thread: half a default batch."""

MIN_CHUNKS = 4
"""Chunks decoded ahead with a single thread too: the network would wait for half of each default batch."""


@dataclass(frozen=True, slots=True)
class ShardEnd:
    """All samples of a shard have been yielded.

    Args:
        shard: that was read.
        content: digest of its samples, see `pipeline.data.content.ShardReader`.
        stamp: of its files.
    """

    shard: Shard
    content: str
    stamp: str


Event = Sample | BadSample | ShardEnd
_Item = Future[list[Sample | BadSample]] | ShardEnd | BaseException | None


def feed(
    shards: Sequence[Shard],
    preprocess: Preprocess,
    *,
    decoder: Decoder = "pil",
    workers: int | None = None,
    batches: BatchDecoder | None = None,
) -> Generator[Event]:
    """Read and decode shards, one after another, ahead of the consumer.

    Args:
        shards: in the order in which they are yielded.
        preprocess: the geometry to decode to.
        decoder: of JPEG files, where no `batches` decode them.
        workers: decoding threads; None for one per core.
        batches: decodes JPEG files on a GPU, where the pixels stay.

    Yields:
        The samples of each shard in order, decoded, then its `ShardEnd`.

    Raises:
        ShardError: when a shard is damaged, after its earlier samples were yielded.
    """
    workers = workers or os.cpu_count() or 1
    ahead: queue.Queue[_Item] = queue.Queue(maxsize=max(MIN_CHUNKS, CHUNKS_PER_WORKER * workers))
    stopped = threading.Event()

    def put(item: _Item) -> None:
        while True:
            if stopped.is_set():
                raise _Stopped
            with contextlib.suppress(queue.Full):
                ahead.put(item, timeout=_POLL_S)
                return

    def read(pool: ThreadPoolExecutor) -> None:
        try:
            for shard in shards:
                samples = ShardReader(shard)
                for chunk in _chunks(samples, CHUNK if batches is None else GPU_CHUNK):
                    put(pool.submit(_decode_chunk, chunk, preprocess, decoder, batches))
                put(ShardEnd(shard, samples.content, samples.stamp))
            put(None)
        except _Stopped:
            pass
        except BaseException as error:  # the consumer raises it
            with contextlib.suppress(_Stopped):
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
            stopped.set()
            reader.join()
            pool.shutdown(wait=True, cancel_futures=True)


class _Stopped(Exception):
    """The consumer has closed the generator; never leaves this module."""


def _chunks(samples: Iterable[Sample | BadSample], most: int) -> Iterator[list[Sample | BadSample]]:
    """A shard's samples in groups of at most `most`; a failure is raised after the samples before it."""
    chunk: list[Sample | BadSample] = []
    size = 0
    try:
        for sample in samples:
            chunk.append(sample)
            size += sample.nbytes if isinstance(sample, Sample) else 0
            if len(chunk) == most or size >= CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
    except Exception:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def _decode_chunk(
    chunk: Sequence[Sample | BadSample],
    preprocess: Preprocess,
    decoder: Decoder,
    batches: BatchDecoder | None,
) -> list[Sample | BadSample]:
    if batches is not None:
        chunk = _decode_batch(chunk, batches)
    decoded = [
        item if isinstance(item, BadSample) or item.pixels is not None else _decode(item, preprocess, decoder)
        for item in chunk
    ]
    # After decoding, the first image takes three times as long to hash as the next ones.
    pixels = [item.pixels for item in decoded if isinstance(item, Sample) and item.pixels is not None]
    hashes = iter(perceptual_hashes(pixels))
    return [replace(item, phash=next(hashes)) if isinstance(item, Sample) else item for item in decoded]


def _decode_batch(chunk: Sequence[Sample | BadSample], batches: BatchDecoder) -> list[Sample | BadSample]:
    """The samples that a GPU decodes with their pixels, the others as they are."""
    found = iter(batches.decode([item.data for item in chunk if isinstance(item, Sample)]))
    return [item if isinstance(item, BadSample) else _with_pixels(item, next(found)) for item in chunk]


def _with_pixels(sample: Sample, image: BatchImage | BadImage | None) -> Sample | BadSample:
    if image is None:
        return sample
    if isinstance(image, BadImage):
        return BadSample(sample.key, sample.position, image.kind, str(image), sample.shard)
    return replace(sample, data=b"", pixels=image.pixels, width=image.width, height=image.height)


def _decode(sample: Sample, preprocess: Preprocess, decoder: Decoder) -> Sample | BadSample:
    try:
        original = decode_original(sample.data, preprocess.channels, decoder=decoder)
        pixels = to_network(original, preprocess)
    except BadImage as error:
        return BadSample(sample.key, sample.position, error.kind, str(error), sample.shard)
    except Exception as error:
        error.add_note(f"while decoding {sample.key!r} of shard {sample.shard}")
        raise
    height, width = original.shape[1:]
    return replace(sample, data=b"", pixels=pixels, width=width, height=height)
