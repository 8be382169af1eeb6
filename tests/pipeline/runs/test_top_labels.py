"""The most common label of top images, against a plain count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.image_id import image_id
from pipeline.runs.top_labels import ImageLabels, majority
from pipeline.state.topk import NO_IMAGE
from pipeline.store.schemas import IMAGES


def plain_majority(codes: list[int]) -> tuple[int, float | None]:
    known = [code for code in codes if code >= 0]
    if not known:
        return -1, None
    best = max(dict.fromkeys(known), key=known.count)
    return best, known.count(best) / len(known)


ROWS = st.integers(1, 8).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(-1, 3), min_size=width, max_size=width), min_size=1, max_size=6
    )
)


@given(ROWS)
def test_the_most_common_label_is_the_first_of_equals(rows: list[list[int]]) -> None:
    best, share = majority(np.array(rows, np.int32))
    for row, code, part in zip(rows, best.tolist(), share.tolist(), strict=True):
        expected, of_known = plain_majority(row)
        assert code == expected
        assert (of_known is None and np.isnan(part)) or part == np.float32(of_known)


@pytest.mark.parametrize("memory", [0, 1 << 20])
def test_labels_are_found_by_image(tmp_path: Path, memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.runs.top_labels._MEMORY", memory)
    rng = np.random.default_rng(0)
    known: dict[int, str | None] = {}
    with ImageLabels(tmp_path, ["b"]) as labels:
        for shard, positions in ((0, range(0, 5000, 3)), (2, [7]), (3, range(3000))):
            for piece in np.array_split(np.array(positions), min(3, len(positions))):
                texts = [None if n % 5 == 0 else "abc"[(n + shard) % 3] for n in piece.tolist()]
                ids = [image_id(shard, n) for n in piece.tolist()]
                known |= dict(zip(ids, texts, strict=True))
                rows = [{"image_id": i, "label": text} for i, text in zip(ids, texts, strict=True)]
                labels.add(pa.Table.from_pylist(rows, IMAGES))
        wanted = rng.choice([*known, NO_IMAGE, image_id(1, 4), image_id(2, 5000)], (40, 30))
        found = labels.names(labels.of(wanted).reshape(-1)).to_pylist()
    assert found == [known.get(each) for each in wanted.reshape(-1).tolist()]
