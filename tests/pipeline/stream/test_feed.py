"""Reading and decoding ahead: in order, bounded, and gone when the consumer goes."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest
import torch
from PIL import Image
from torch import Tensor

from pipeline.data.content import byte_digest
from pipeline.data.shard import BadSample, Sample, Shard
from pipeline.errors import BadImage, ShardError, UsageError
from pipeline.images.decode import decode_original
from pipeline.images.nvjpeg import BatchDecoder
from pipeline.stream import feed as feed_module
from pipeline.stream.feed import Event, ShardEnd, feed
from tests.fixtures.tiny import PREPROCESS, picture

pytestmark = pytest.mark.slow

PICTURES = [picture(seed) for seed in range(7)]


@dataclass(frozen=True)
class Listed(Shard):
    """A shard in memory that counts what was taken from it, and may fail or block at the end."""

    count: int = 0
    failure: BaseException | None = None
    bad: tuple[int, ...] = ()
    taken: list[int] = field(default_factory=list)

    def samples(self) -> Generator[Sample | BadSample]:
        for position in range(self.count):
            self.taken.append(position)
            if position in self.bad:
                yield BadSample(f"{self.name}/{position}", position, "label", "no label")
            else:
                data = PICTURES[position % len(PICTURES)]
                yield Sample(f"{self.name}/{position}", "a", position, 10 * position, data)
        if self.failure is not None:
            raise self.failure

    def read(self, key: str, offset: int, nbytes: int) -> bytes:
        raise NotImplementedError


def shard(name: str, count: int, **options: object) -> Listed:
    return Listed(name=name, size=100 * count, count=count, **options)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.enumerate()
    yield
    assert threading.enumerate() == before


def names(events: list[Event]) -> list[str]:
    return [event.shard.name if isinstance(event, ShardEnd) else event.key for event in events]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_samples_come_in_order_and_every_shard_ends(workers: int) -> None:
    shards = [shard("a", 40), shard("b", 0), shard("c", 3, bad=(1,)), shard("d", 70)]
    events = list(feed(shards, PREPROCESS, workers=workers))
    wanted = []
    for each in shards:
        wanted += [f"{each.name}/{position}" for position in range(each.count)] + [each.name]
    assert names(events) == wanted
    bad = [event for event in events if isinstance(event, BadSample)]
    assert bad == [BadSample("c/1", 1, "label", "no label", shard="c")]


def test_order_is_kept_when_decoding_takes_unequal_time(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = feed_module.decode_original

    def slow(data: bytes, *arguments: object, **options: object) -> object:
        time.sleep(0.02 if data == PICTURES[0] else 0)
        return decode(data, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(feed_module, "decode_original", slow)
    events = list(feed([shard("a", 30)], PREPROCESS, workers=4))
    assert names(events) == [f"a/{position}" for position in range(30)] + ["a"]


def test_a_good_sample_carries_what_the_index_records() -> None:
    good, end = feed([shard("a", 1)], PREPROCESS, workers=1)
    assert isinstance(good, Sample)
    assert isinstance(end, ShardEnd)
    assert (good.shard, good.key, good.label, good.offset) == ("a", "a/0", "a", 0)
    assert (good.nbytes, good.width, good.height) == (len(PICTURES[0]), 20, 20)
    assert good.digest == byte_digest(PICTURES[0])
    assert good.data == b""
    assert good.pixels is not None
    assert good.pixels.shape == (3, PREPROCESS.height, PREPROCESS.width)


def test_what_cannot_be_decoded_takes_its_place_among_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decode = feed_module.decode_original

    def picky(data: bytes, *arguments: object, **options: object) -> object:
        if data == PICTURES[2]:
            raise BadImage("corrupt", "cannot be decoded: so it is")
        return decode(data, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(feed_module, "decode_original", picky)
    events = list(feed([shard("a", 4)], PREPROCESS, workers=2))
    assert names(events) == ["a/0", "a/1", "a/2", "a/3", "a"]
    assert events[2] == BadSample("a/2", 2, "corrupt", "cannot be decoded: so it is", shard="a")


@pytest.mark.parametrize("failure", [ShardError("b", "is damaged"), KeyError("a fault of ours")])
def test_a_failing_shard_is_told_after_its_earlier_samples(failure: Exception) -> None:
    shards = [shard("a", 2), shard("b", 3, failure=failure), shard("c", 1)]
    seen: list[Event] = []
    events = feed(shards, PREPROCESS, workers=2)
    with pytest.raises(type(failure)) as caught:
        seen.extend(events)  # what came before the exception stays in the list
    assert caught.value is failure
    assert names(seen) == ["a/0", "a/1", "a", "b/0", "b/1", "b/2"]
    assert not shards[2].taken


def test_a_fault_in_decoding_reaches_the_consumer_and_names_the_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(data: bytes, *_: object, **__: object) -> object:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(feed_module, "decode_original", broken)
    with pytest.raises(ZeroDivisionError) as caught:
        list(feed([shard("a", 50)], PREPROCESS, workers=2))
    assert caught.value.__notes__ == ["while decoding 'a/0' of shard a"]


def test_an_error_of_ours_in_decoding_is_not_a_bad_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(data: bytes, *_: object, **__: object) -> object:
        raise UsageError("the simplejpeg decoder is not installed")

    monkeypatch.setattr(feed_module, "decode_original", missing)
    with pytest.raises(UsageError, match="not installed"):
        list(feed([shard("a", 5)], PREPROCESS, workers=2))


@pytest.mark.parametrize("taken", [0, 1, 20])
def test_closing_early_stops_the_threads(taken: int) -> None:
    endless = shard("a", 1_000_000)
    with closing(feed([endless], PREPROCESS, workers=2)) as events:
        for _ in range(taken):
            next(events)
        read = len(endless.taken)
    time.sleep(0.05)
    assert len(endless.taken) <= read + 50


def test_a_feed_that_is_never_started_starts_nothing() -> None:
    idle = shard("a", 10)
    feed([idle], PREPROCESS).close()
    assert not idle.taken


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_no_more_than_the_bound_is_in_flight(workers: int) -> None:
    bound = feed_module.CHUNK * (max(feed_module.MIN_CHUNKS, feed_module.CHUNKS_PER_WORKER * workers) + 2)
    source = shard("a", 10 * bound)
    handed = 0
    with closing(feed([source], PREPROCESS, workers=workers)) as events:
        for _ in range(3 * bound):
            next(events)
            handed += 1
            if handed % bound == 0:
                time.sleep(0.2)  # the reader runs as far ahead as it may
            # Of the two chunks beyond the queue's, the reader holds one and the consumer the other.
            assert len(source.taken) - handed <= bound
    assert handed == 3 * bound


def test_reading_goes_on_while_the_consumer_works() -> None:
    source = shard("a", 20)
    with closing(feed([source], PREPROCESS, workers=1)) as events:
        next(events)
        deadline = time.monotonic() + 5
        while len(source.taken) < 15 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(source.taken) >= 15


def test_a_gpu_gives_the_same_events_in_larger_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Pillow on the CPU in the place of nvJPEG; every second file is PNG, which it is not asked for."""
    monkeypatch.setitem(globals(), "PICTURES", [as_jpeg(picture(0)), picture(1)])
    sizes: list[int] = []

    def decode_all(files: list[Tensor], device: torch.device) -> list[Tensor]:
        sizes.append(len(files))
        return [decode_original(file.numpy().tobytes()) for file in files]

    batches = BatchDecoder(PREPROCESS, torch.device("cpu"), decode_all)
    shards = [shard("a", 150, bad=(3, 149)), shard("b", 0), shard("c", 1)]
    found = list(feed(shards, PREPROCESS, workers=2, batches=batches))
    wanted = list(feed(shards, PREPROCESS, workers=2))
    assert found == wanted
    for one, other in zip(found, wanted, strict=True):
        if isinstance(one, Sample) and isinstance(other, Sample):
            assert one.pixels is not None
            assert other.pixels is not None
            assert torch.equal(one.pixels, other.pixels)
    assert sum(sizes) == 75 + 1
    assert max(sizes) > feed_module.CHUNK


def as_jpeg(data: bytes) -> bytes:
    stream = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.save(stream, "JPEG")
    return stream.getvalue()


def test_what_a_gpu_cannot_use_is_a_bad_sample() -> None:
    sample = Sample("a", "cat", 3, 0, b"data", shard="s")
    assert feed_module._with_pixels(sample, None) is sample
    found = feed_module._with_pixels(sample, BadImage("shape", "0 x 0 pixels"))
    assert found == BadSample("a", 3, "shape", "0 x 0 pixels", "s")
