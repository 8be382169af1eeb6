"""Concepts of single images: their files, and names against NumPy on all peaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.naming.concepts import label_concepts
from pipeline.naming.concepts_file import read_concepts
from pipeline.naming.image_concepts import ImageConcepts, count_images, eligible_concepts, sum_peaks
from pipeline.naming.name_units import UnitNames, name_spans
from tests.pipeline.naming.test_name_units import LABELS, all_names, dataset, sums_over

FIELDS = ("unit", "rank", "concept", "correlation", "held_out", "combined", "images", "weight")


def named(has: np.ndarray[Any, Any], half: np.ndarray[Any, Any], peaks: np.ndarray[Any, Any]) -> UnitNames:
    """Names from (image, concept) bool, for (image, unit) peaks, two units at a time."""
    concepts = ImageConcepts(tuple(column.nonzero()[0] for column in has.T), half.astype(np.int8))
    chosen = eligible_concepts(concepts)
    kept = ImageConcepts(tuple(concepts.rows[row] for row in chosen), concepts.half)
    counts = count_images(kept)
    spans = name_spans(
        peaks.shape[1], counts, lambda span: sum_peaks(kept, counts, peaks.T[span]), chosen, most=2
    )
    found = list(spans)
    return UnitNames(
        found[-1].units, *(np.concatenate([getattr(each, field) for each in found]) for field in FIELDS)
    )


@pytest.mark.parametrize("seed", range(3))
def test_labels_as_concepts_of_images_give_the_names_from_labels(seed: int) -> None:
    """With integer peaks all sums are exact, so that both have the same bits."""
    peaks, label, half = dataset(seed, images=3000, integers=True)
    found = named(np.eye(len(LABELS), dtype=bool)[label], half, peaks)
    wanted = all_names(sums_over(peaks, label, half), label_concepts(LABELS))
    assert len(wanted.unit)
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(found, field), getattr(wanted, field))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_several_concepts_an_image_are_those_of_numpy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    has = rng.random((300, 9)) < rng.random(9)
    peaks = (has[:, rng.integers(0, 9, 4)] * rng.random(4) * 3 + rng.normal(size=(300, 4))).astype(np.float32)
    half = rng.integers(-1, 2, 300)  # of some images nothing is known
    names = named(has, half, peaks)
    for row in range(len(names.unit)):
        column = peaks[:, names.unit[row]].astype(np.float64)
        inside = has[:, names.concept[row]]
        known, judges = half >= 0, half == 1
        assert names.images[row] == inside[known].sum()
        r = np.corrcoef(column[known], inside[known])[0, 1]
        assert names.correlation[row] == pytest.approx(r, abs=1e-12)
        assert names.held_out[row] == pytest.approx(
            np.corrcoef(column[judges], inside[judges])[0, 1], abs=1e-12
        )
    for unit in np.unique(names.unit):
        rows, chooses, judges = (names.unit == unit).nonzero()[0], half == 0, half == 1
        x = np.column_stack([has[:, names.concept[rows]], np.ones(300)]).astype(np.float64)
        solved = np.linalg.lstsq(x[chooses], peaks[chooses, unit].astype(np.float64), rcond=None)[0]
        np.testing.assert_allclose(names.weight[rows], solved[:-1], rtol=1e-6)
        expected = np.corrcoef(x[judges] @ solved, peaks[judges, unit])[0, 1]
        assert names.combined[rows[-1]] == pytest.approx(expected, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(1, 5), st.integers(1, 9))
def test_counts_do_not_depend_on_blocks(images: int, concepts: int, block: int) -> None:
    from pipeline.naming import image_concepts

    rng = np.random.default_rng(images * 7 + concepts)
    has, half = rng.random((images, concepts)) < 0.5, rng.integers(0, 2, images).astype(np.int8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_concepts, "_IMAGES_AT_ONCE", block)
        counts = count_images(ImageConcepts(tuple(column.nonzero()[0] for column in has.T), half))
    for number, count in enumerate(counts):
        part = has[half == number].astype(np.int64)
        assert count.images == len(part)
        np.testing.assert_array_equal(count.own, part.sum(0))
        np.testing.assert_array_equal(
            count.gram.rows(np.arange(part.shape[1])),
            len(part) * part.T @ part - np.outer(part.sum(0), part.sum(0)),
        )


def write(folder: Path, name: str, columns: dict[str, list[Any]]) -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.table(columns), path)
    else:
        lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", ["c.parquet", "c.csv"])
def test_pairs_and_columns_are_read(tmp_path: Path, name: str) -> None:
    pairs = write(tmp_path, name, {"key": ["b", "a", "b", "b"], "concept": ["red", "red", "dog", "red"]})
    found = read_concepts(pairs)
    assert (found.concepts, found.keys, found.images) == (("dog", "red"), (("b",), ("b", "a")), None)
    columns = {"key": ["a", "b"], "red": [True, False], "dog": [False, False]}
    found = read_concepts(write(tmp_path, name, columns))
    assert (found.concepts, found.keys, found.images) == (("dog", "red"), ((), ("a",)), ("a", "b"))


def test_a_column_of_truth_may_be_called_concept_and_numbers_are_truth(tmp_path: Path) -> None:
    found = read_concepts(write(tmp_path, "c.parquet", {"key": ["a", "b"], "concept": [True, False]}))
    assert (found.concepts, found.keys) == (("concept",), (("a",),))
    found = read_concepts(write(tmp_path, "c.csv", {"key": ["a", "b"], "x": [1, 0], "y": ["TRUE", "false"]}))
    assert found.keys == (("a",), ("a",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "are empty"),
        ("key,concept\n", "are empty"),
        ("image,concept\na,b\n", "have the columns"),
        ("key\na\n", "have the columns"),
        ("key,red,red\na,1,0\n", "several columns called 'red'"),
        ("key,key,red\na,a,1\n", "several columns called 'key'"),
        ("key,red\na,perhaps\n", "row 1 of column 'red' is 'perhaps'; expected true, false, 1 or 0"),
        ("key,red\na,1\na,0\n", "several rows with the key 'a'"),
        ("key,concept\na,\n", "row 1 has the concept ''"),
        ("key,concept\n,b\n", "row 1 has the key ''"),
        ("key,concept\na,b,c\n", "row 1 has 3 cells, the first line 2"),
        ("key,,x\na,1,1\n", "a column without a name"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "cannot be read"),
        (b"key,concept\na\0,b\n", "it is binary"),
        (None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(
    tmp_path: Path, content: str | bytes | None, words: str
) -> None:
    path = tmp_path / "c.csv"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UsageError, match=words) as caught:
        read_concepts(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("data", [b"PAR1", b"", b"key,concept\na,b\n"])
def test_a_damaged_parquet_file_is_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "c.parquet").write_bytes(data)
    with pytest.raises(UsageError, match="cannot be read"):
        read_concepts(tmp_path / "c.parquet")


def test_numbers_as_concepts_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"row 1 has the key 3; expected text"):
        read_concepts(write(tmp_path, "c.parquet", {"key": [3, 4], "concept": ["a", "b"]}))
