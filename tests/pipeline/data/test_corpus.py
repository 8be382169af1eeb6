"""Every input of the test corpus has its expected outcome, with both decoders."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from pipeline.choices import Decoder
from pipeline.data.dataset import Sample, open_dataset
from pipeline.errors import BadImage, ShardError, SourceError
from pipeline.images.decode import decode, decode_original, open_original
from pipeline.images.preprocess import Preprocess
from tests.fixtures.corpus import QUADRANTS, Case, build_corpus

PREPROCESS = Preprocess(32, 32, 32)
SQUASH = Preprocess(32, 32, 32, fit="squash")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    return {case.name: case for case in build_corpus(tmp_path_factory.mktemp("corpus"))}


def case_names() -> list[str]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return [case.name for case in build_corpus(Path(folder))]


NAMES = case_names()


def test_the_corpus_has_at_least_60_cases() -> None:
    assert len(NAMES) >= 60


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["pil", "simplejpeg"])
@pytest.mark.parametrize("name", NAMES)
def test_input_has_its_expected_outcome(corpus: dict[str, Case], name: str, decoder: Decoder) -> None:
    case = corpus[name]
    if case.outcome == "refused":
        with pytest.raises(SourceError, match=case.reason):
            open_dataset([str(case.path)])
        return
    seen = read_all(case, decoder)
    if case.outcome == "shard":
        assert seen.failure is not None
        assert seen.failure.shard == case.key
        assert re.search(case.reason, str(seen.failure)), seen.failure
        assert "\n" not in str(seen.failure)
        return
    assert seen.failure is None
    assert seen.positions == list(range(len(seen.positions)))
    assert len(seen.images) == case.good
    if case.outcome == "error":
        assert [key for key, _ in seen.errors] == [case.key]
        assert re.fullmatch(case.kind, seen.errors[0][1]), seen.errors
    else:
        assert not seen.errors
        if case.good:
            check_picture(case, seen.images[case.key].data, decoder)


@dataclass
class Seen:
    images: dict[str, Sample] = field(default_factory=dict)
    errors: list[tuple[str, str]] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    failure: ShardError | None = None


def read_all(case: Case, decoder: Decoder) -> Seen:
    dataset = open_dataset([str(case.path)])
    seen = Seen()
    for shard in dataset.shards:
        try:
            for sample in shard.samples():
                seen.positions.append(sample.position)
                if not isinstance(sample, Sample):
                    seen.errors.append((sample.key, sample.kind))
                    continue
                read = dataset.read(shard.name, sample.key, sample.offset, len(sample.data))
                assert read == sample.data
                try:
                    decode(sample.data, PREPROCESS, decoder=decoder)
                except BadImage as error:
                    seen.errors.append((sample.key, error.kind))
                else:
                    seen.images[sample.key] = sample
        except ShardError as error:
            seen.failure = error
    return seen


def check_picture(case: Case, data: bytes, decoder: Decoder) -> None:
    """Check the colours of the quadrants, in the network's input and in the original."""
    decoded = decode(data, SQUASH, decoder=decoder)
    original = open_original(data)
    height, width = decode_original(data, decoder=decoder).shape[1:]
    assert (width, height) == original.size == case.size
    assert original.mode == "RGB"
    if case.plain:
        return
    whole = np.asarray(original).astype(int)
    height, width = whole.shape[:2]
    for at, colour in enumerate(QUADRANTS):
        y, x = divmod(at, 2)
        wanted = np.array(colour)
        if case.grey:
            wanted = np.full(3, round(float(wanted @ [0.299, 0.587, 0.114])))
        seen = decoded[:, 16 * y + 8, 16 * x + 8].numpy().astype(int)
        assert np.abs(seen - wanted).max() <= 14, (at, seen, wanted)
        seen = whole[height * (2 * y + 1) // 4, width * (2 * x + 1) // 4]
        assert np.abs(seen - wanted).max() <= 14, (at, seen, wanted)
