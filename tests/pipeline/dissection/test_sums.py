"""Thresholds, intersection over union and their sums, against NumPy on all values."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.dissection.masks import NAMES_FILE, MaskedImage, open_masks
from pipeline.dissection.places import MAX_SIDE, interpolation, place_grid
from pipeline.dissection.sums import MAX_CONCEPTS, MaskSums, judge_units, thresholds
from pipeline.errors import SourceError, UsageError
from pipeline.images.preprocess import Box, Preprocess
from pipeline.layers.layer import Layer
from pipeline.state.statistics import BUCKETS, add_to_histogram, bucket_bounds


def layer(grid: int = 5, stride: int = 4, field: int = 9, start: int = -2) -> Layer:
    values = {"grid_h": grid, "grid_w": grid, "rf_h": field, "rf_w": field}
    steps = {"stride_y": stride, "stride_x": stride, "start_y": start, "start_x": start}
    record = {"name": "l", "ordinal": 0, "kind": "map", "units": 3, "prefix": 0, **values, **steps}
    return Layer.from_record(record)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.9, 0.995]), st.booleans())
def test_a_threshold_is_the_lowest_edge_that_few_enough_exceed(
    seed: int, quantile: float, rectified: bool
) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(500, 4)) * rng.random(4) * 10).astype(np.float32)
    values[:, 3] = 0 if rectified else values[0, 3]
    values = np.maximum(values, 0) if rectified else values
    histogram = torch.zeros((4, BUCKETS), dtype=torch.int64)
    add_to_histogram(histogram, torch.from_numpy(values))
    found = thresholds(histogram.numpy(), quantile)
    lower, upper = bucket_bounds()
    for unit in range(4):
        above = (values[:, unit] > found.value[unit]).mean()
        assert above == found.share[unit] <= 1 - quantile + 1e-12
        exact = np.sort(values[:, unit])[int(np.ceil(quantile * 500)) - 1]
        bucket = int(((lower <= exact) & (exact < upper)).argmax()) if exact >= 0 else None
        if bucket is not None:
            assert found.value[unit] <= np.float32(upper[bucket]), "at most a bucket above the quantile"
        assert found.value[unit] >= exact or np.isclose(found.value[unit], exact, rtol=1e-6)


@pytest.mark.parametrize("stride", [4, 0])
def test_a_map_is_interpolated_between_centres_of_fields(stride: int) -> None:
    preprocess, each = Preprocess(24, 16, 24), layer(stride=stride)
    places = place_grid(preprocess)
    rows, columns = interpolation(each, places)
    np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-6)
    values = np.random.default_rng(0).normal(size=(5, 5))
    down = (np.arange(5) * 4 - 2 + 4.5) if stride else (np.arange(5) + 0.5) * 24 / 5
    right = (np.arange(5) * 4 - 2 + 4.5) if stride else (np.arange(5) + 0.5) * 16 / 5
    lines = np.array([np.interp(places.x, right, line) for line in values])
    wanted = np.array([np.interp(places.y, down, column) for column in lines.T]).T
    np.testing.assert_allclose(rows @ values @ columns.T, wanted, atol=1e-5)


@pytest.mark.parametrize("side", [32, 112, 113, 224, 384])
def test_places_cover_the_input_evenly(side: int) -> None:
    places = place_grid(Preprocess(side, side, side))
    assert len(places.y) <= MAX_SIDE
    assert places.y[0] == pytest.approx(side - places.y[-1])
    np.testing.assert_allclose(np.diff(places.y), side / len(places.y))


@pytest.mark.parametrize("fit", ["crop", "squash"])
@pytest.mark.parametrize("size", [(64, 64), (90, 70), (50, 200)])
def test_a_place_lies_on_the_pixel_that_the_network_sees_there(size: tuple[int, int], fit: str) -> None:
    preprocess = Preprocess(32, 32, 36, fit=fit)  # type: ignore[arg-type]
    places = place_grid(preprocess)
    rows, columns = places.pixels(*size)
    for y, row in zip(places.y, rows, strict=True):
        seen = preprocess.to_original(Box(0, y - 0.5, 32, y + 0.5), *size)
        assert np.floor(seen.top) <= row <= np.ceil(seen.bottom)
    for x, column in zip(places.x, columns, strict=True):
        seen = preprocess.to_original(Box(x - 0.5, 0, x + 0.5, 32), *size)
        assert np.floor(seen.left) <= column <= np.ceil(seen.right)


def sums_of(active: np.ndarray, marked: np.ndarray, half: np.ndarray) -> MaskSums:
    """From (image, unit, place) and (image, concept, place) bool."""
    sums = MaskSums.empty(active.shape[1], marked.shape[1])
    for ours, theirs, number in zip(active, marked, half, strict=True):
        sums.both[number] += ours.astype(np.int64) @ theirs.T.astype(np.int64)
        sums.active[number] += ours.sum(1)
        sums.marked[number] += theirs.sum(1)
        sums.places[number] += active.shape[2]
        sums.images[number] += theirs.any(1)
        sums.all_images[number] += 1
    return sums


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 24), max_size=4))
def test_sums_of_groups_are_those_of_all_images(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    active, marked = rng.random((24, 3, 20)) < 0.3, rng.random((24, 4, 20)) < rng.random((24, 4, 1)) - 0.2
    half = rng.integers(0, 2, 24)
    whole, merged = sums_of(active, marked, half), MaskSums.empty(3, 4)
    edges = sorted({0, 24, *cuts})
    for first, last in pairwise(edges):
        merged = merged.merge(sums_of(active[first:last], marked[first:last], half[first:last]))
    for field in ("both", "active", "marked", "places", "images", "all_images"):
        np.testing.assert_array_equal(getattr(merged, field), getattr(whole, field))
    ours, theirs = (each.transpose(1, 0, 2).reshape(each.shape[1], -1) for each in (active, marked))
    for unit in range(3):
        for concept in range(4):
            both, union = (ours[unit] & theirs[concept]).sum(), (ours[unit] | theirs[concept]).sum()
            assert whole.iou()[unit, concept] == (both / union if union else 0)
            if 0 < theirs[concept].sum() < theirs.shape[1]:
                r = np.corrcoef(ours[unit], theirs[concept])[0, 1]
                assert whole.correlation()[unit, concept] == pytest.approx(r, abs=1e-9)


def test_concepts_are_chosen_on_one_half_and_judged_on_the_other() -> None:
    rng = np.random.default_rng(3)
    marked = rng.random((40, 7, 30)) < 0.3
    active = np.stack([marked[:, 2] ^ (rng.random((40, 30)) < 0.1), marked[:, 5] & marked[:, 1]], axis=1)
    half = np.arange(40) % 2
    marked[3:, 6] = False  # in too few images
    sums = sums_of(active, marked, half)
    found = judge_units(sums)
    assert found.concept[found.rank == 1].tolist()[0] == 2
    assert 6 not in found.concept
    assert (np.bincount(found.unit) <= MAX_CONCEPTS).all()
    best = [sums.iou(0)[unit, :6].argmax() for unit in range(2)]
    assert found.concept[found.rank == 1].tolist() == best
    assert found.iou_held_out.tolist() == sums.iou(1)[found.unit, found.concept].tolist()


def test_a_unit_that_is_never_active_has_no_concept() -> None:
    marked = np.ones((12, 1, 4), bool)
    assert not len(judge_units(sums_of(np.zeros((12, 2, 4), bool), marked, np.arange(12) % 2)).unit)


def image(key: str, size: tuple[int, int] = (3, 2)) -> MaskedImage:
    return MaskedImage(0, key, *size, None, 0, "shard", 0)


def grey(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def test_numbers_and_folders_mark_the_same(tmp_path: Path) -> None:
    values = np.array([[0, 1, 1], [2, 2, 9]])
    grey(tmp_path / "n" / "a" / "x.png", values)
    (tmp_path / "n" / NAMES_FILE).write_text("1,tree\n2,sky\n7,tree\n")
    for number, name in ((1, "tree"), (2, "sky")):
        grey(tmp_path / "f" / name / "a" / "x.jpg.png", (values == number) * 3)
    rows, columns = np.array([0, 1]), np.array([1, 2])
    for folder in ("n", "f"):
        masks = open_masks(tmp_path / folder)
        assert masks.concepts == ("sky", "tree")
        assert masks.has(image("a/x.jpg"))
        for key in ("a/y.jpg", "../a/x.jpg", "/a/x.jpg", "", "a\0", "x" * 5000):
            assert not masks.has(image(key))
        found = masks.sample(image("a/x.jpg"), rows, columns)
        assert found.concepts.tolist() == [0, 1]
        assert found.inside.tolist() == [[False, False, True, False], [True, True, False, False]]


def test_numbers_above_255(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 300, np.uint16)).save(tmp_path / "x.png")
    (tmp_path / NAMES_FILE).write_text("300,tree\n")
    found = open_masks(tmp_path).sample(image("x.jpg", (2, 2)), np.array([0]), np.array([0]))
    assert found.inside.tolist() == [[True]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("number,name\n", "is empty"),
        ("1,tree\nx,sky\n", "line 2 is"),
        ("1,tree\n2\n", "line 2 is"),
        ("1,\n", "line 1 is"),
        ("1,tree\n1,sky\n", "the number 1 has two names"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_file_of_names_that_cannot_be_used_is_one_line(
    tmp_path: Path, content: str | bytes, words: str
) -> None:
    (tmp_path / NAMES_FILE).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UsageError, match=words) as caught:
        open_masks(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("folder", ["missing", "empty", "file"])
def test_a_folder_without_masks_is_one_line(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"the masks .* (are no folder|have neither names\.csv)"):
        open_masks(tmp_path / folder)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: Image.new("L", (5, 4)).save(path), "has 5 x 4 pixels, its image 3 x 2"),
        (lambda path: Image.new("RGB", (3, 2)).save(path), "is RGB; expected a palette or grey PNG"),
        (lambda path: path.write_bytes(b"no picture"), "cannot be read"),
        (lambda path: Image.new("L", (3, 2)).save(path, "JPEG"), "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
    ],
)
def test_a_mask_that_cannot_be_used_is_one_line(tmp_path: Path, write, words: str) -> None:
    (tmp_path / NAMES_FILE).write_text("1,tree\n")
    write(tmp_path / "x.png")
    with pytest.raises(SourceError, match=words) as caught:
        open_masks(tmp_path).sample(image("x.jpg"), np.array([0]), np.array([0]))
    assert "\n" not in str(caught.value)
