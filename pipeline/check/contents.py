"""Compares `images` and `errors` with what the shards contained: keys, labels, origins, places, bytes.

A part keeps a digest of all that the samples of each shard said when it was read. The rows of a shard
must give that digest again; this reads no dataset. Shards that are read again from the dataset are
compared sample by sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from torch import Tensor

from pipeline.check.findings import Discrepancy, Findings
from pipeline.choices import Decoder
from pipeline.data.content import ShardReader, content_digest
from pipeline.data.dataset import Dataset
from pipeline.data.shard import BadSample, Sample, Shard
from pipeline.errors import BadImage
from pipeline.image_id import MAX_POSITIONS
from pipeline.images.decode import decode
from pipeline.progress import Reporter
from pipeline.query.index import Index
from pipeline.state.part import ShardRecord

__all__ = ["READ_BYTES", "check_contents", "check_shards", "choose_shards", "compare_listing"]

Decode = Callable[[bytes], Tensor]

READ_BYTES = 1 << 28
"""Bytes (256 MiB) of shards that are read again, unless all are asked for."""

_UNDECODED = ("empty", "unknown", "truncated", "corrupt", "bomb", "mode", "shape")
"""Kinds of errors of samples that a shard gives and that cannot be decoded: `pipeline.images.decode`.
Their label and place are not recorded, so that the digest of their shard cannot be computed."""

_IMAGES = """
    SELECT image_id, key, label, origin, "offset", bytes, digest FROM images
    WHERE shard = $shard ORDER BY image_id
"""

_ERRORS = "SELECT key, error, message FROM errors WHERE shard = $shard"


def check_contents(index: Index, records: Sequence[ShardRecord], labels: Mapping[str, str]) -> Findings:
    """Compare the rows of every shard with the digest that was made when the shard was read.

    Args:
        index: open.
        records: all shards, from the parts.
        labels: see `pipeline.check.labels.labels_by_name`.
    """
    found = Findings()
    for record in records:
        samples = list(_recorded_samples(index, record.name, labels))
        if any(isinstance(item, BadSample) and item.kind in _UNDECODED for item in samples):
            continue
        if record.content and content_digest(samples) != record.content:
            what = f"the images and errors of shard {record.name} are not those that were read"
            found.add(Discrepancy.of_index(what))
    return found


def _recorded_samples(index: Index, shard: str, labels: Mapping[str, str]) -> Iterator[Sample | BadSample]:
    """The samples of a shard as the tables have them, with the dataset's labels, by position.

    Errors have no position in their table: they take those that no image has, in their order.
    """
    errors = iter(index.sql(_ERRORS, shard=shard).rows)
    place = 0
    for image_id, key, label, origin, offset, nbytes, digest in index.sql(_IMAGES, shard=shard).rows:
        position = image_id & (MAX_POSITIONS - 1)
        while place < position and (error := next(errors, None)) is not None:
            yield BadSample(error[0], place, error[1], error[2], shard)
            place += 1
        yield Sample(key, labels.get(label, label), position, offset, b"", origin, shard, nbytes, digest)
        place = position + 1
    for number, error in enumerate(errors, start=place):
        yield BadSample(error[0], number, error[1], error[2], shard)


def compare_listing(dataset: Dataset, records: Sequence[ShardRecord]) -> Findings:
    """Compare the shards of the dataset with those of the parts.

    Args:
        dataset: that was indexed.
        records: all shards, from the parts.
    """
    found = Findings()
    there = {shard.name: (shard.size, shard.digest) for shard in dataset.shards}
    recorded = {record.name: (record.size, record.digest) for record in records}
    for name in sorted({*there, *recorded}):
        if name not in recorded:
            found.add(Discrepancy.of_index(f"shard {name} of the dataset is not in the index"))
        elif name not in there:
            found.add(Discrepancy.of_index(f"shard {name} of the index is not in the dataset"))
        elif there[name] != recorded[name]:
            what = f"shard {name} has {there[name][0]} bytes, {recorded[name][0]} when it was indexed"
            if there[name][0] == recorded[name][0]:
                what = f"shard {name} lists other files than when it was indexed"
            found.add(Discrepancy.of_index(what))
    return found


def choose_shards(dataset: Dataset, *, everything: bool, seed: int) -> list[Shard]:
    """The shards to read again: all, or local ones drawn at random up to `READ_BYTES`.

    Args:
        dataset: that was indexed.
        everything: whether to read all, whatever they take.
        seed: of the choice.
    """
    if everything:
        return list(dataset.shards)
    chosen: list[Shard] = []
    read = 0
    for number in np.random.default_rng(seed).permutation(len(dataset.shards)):
        shard = dataset.shards[number]
        # The stamp of a remote shard is empty.
        if read + shard.size <= READ_BYTES and shard.stamp():
            chosen.append(shard)
            read += shard.size
    return sorted(chosen, key=lambda shard: shard.name)


def check_shards(
    index: Index, shards: Sequence[Shard], labels: Mapping[str, str], reporter: Reporter
) -> Findings:
    """Read shards again and compare every sample with its row in `images` or `errors`.

    Args:
        index: open.
        shards: of the dataset.
        labels: see `pipeline.check.labels.labels_by_name`.
        reporter: shows the progress.

    Raises:
        ShardError: when a shard is damaged.
    """
    found = Findings()
    decoder: Decoder = index.run["config"]["decoder"]
    decode_again = partial(decode, preprocess=index.preprocess, decoder=decoder)
    with reporter.task("reading shards", len(shards), "shards") as task:
        for shard in shards:
            recorded = {item.position: item for item in _recorded_samples(index, shard.name, labels)}
            for item in ShardReader(shard):
                for what in _compare(recorded.pop(item.position, None), item, decode_again):
                    found.add(_about(index, item, what))
            for item in recorded.values():
                found.add(_about(index, item, f"{item.key!r} is not in the shard at this position"))
            task.advance()
    return found


def _about(index: Index, item: Sample | BadSample, what: str) -> Discrepancy:
    """A discrepancy about a sample: its image where there is one, else its shard."""
    row = index.sql(
        "SELECT min(image_id) FROM images WHERE shard = $shard AND image_id % $positions = $position",
        shard=item.shard,
        positions=MAX_POSITIONS,
        position=item.position,
    ).rows[0]
    if row[0] is not None:
        return Discrepancy("", -1, int(row[0]), what)
    return Discrepancy.of_index(f"position {item.position} of shard {item.shard}: {what}")


def _compare(
    recorded: Sample | BadSample | None, item: Sample | BadSample, decode_again: Decode
) -> Iterator[str]:
    """What is wrong with a recorded sample, given that of the dataset."""
    if recorded is None:
        yield f"{item.key!r} is neither in images nor in errors"
        return
    names: Mapping[str, str] = {"key": "key"}
    expected: Sample | BadSample = item
    if isinstance(recorded, BadSample) and isinstance(item, Sample):
        try:
            decode_again(item.data)
        except BadImage as error:
            expected = BadSample(item.key, item.position, error.kind, str(error), item.shard)
    if isinstance(recorded, BadSample) and isinstance(expected, BadSample):
        # The message may contain a library's words, which change with its version.
        names = {"key": "key", "kind": "error"}
    elif isinstance(recorded, Sample) and isinstance(expected, Sample):
        names = {name: name for name in ("key", "label", "origin", "offset", "digest")} | {"nbytes": "bytes"}
    else:
        table = "errors" if isinstance(recorded, BadSample) else "images"
        kind = "can be used" if isinstance(expected, Sample) else f"cannot be used: {expected.message}"
        yield f"{item.key!r} is in {table}, but {kind}"
    for name, column in names.items():
        ours, theirs = getattr(recorded, name), getattr(expected, name)
        if ours != theirs:
            yield f"{column} is {ours!r}, in the dataset {theirs!r}"
