"""What is kept of the last layer for each image."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.layers.layer import Layer
from pipeline.store.schemas import PART_IMAGES
from pipeline.stream import predictions as predictions_module
from pipeline.stream.predictions import KEPT_CLASSES, Predictions


def layer(units: int, grid: int = 1) -> Layer:
    return Layer("head", 0, "vector" if grid == 1 else "map", units, 0, grid, grid, 9, 9, 0, 0, 0, 0)


def columns(outputs: np.ndarray, sizes: list[int]) -> dict[str, pa.Array]:
    predictions = Predictions(layer(outputs.shape[1]))
    for first, last in zip([0, *np.cumsum(sizes)], np.cumsum(sizes), strict=False):
        predictions.add(torch.from_numpy(outputs[first:last]))
    return predictions.columns()


@given(st.integers(1, 9), st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_they_are_the_highest_outputs_whatever_the_batches(units: int, sizes: list[int], seed: int) -> None:
    outputs = np.random.default_rng(seed).integers(-3, 3, (sum(sizes), units)).astype(np.float32)
    found = columns(outputs, sizes)
    kept = min(KEPT_CLASSES, units)
    exact = np.exp(outputs.astype(np.float64))
    exact /= exact.sum(1, keepdims=True)
    if (np.abs(outputs.sum(1) - 1) < 1e-3).any() and outputs.min() >= 0:
        return  # taken for probabilities: the next test
    for row in range(len(outputs)):
        order = sorted(range(units), key=lambda unit: (-outputs[row, unit], unit))[:kept]
        assert found["classes"][row].as_py() == order
        assert found["scores"][row].as_py() == outputs[row, order].tolist()
        given_already = (outputs[row] >= 0).all() and outputs[row].sum() == 1
        wanted = outputs[row, order] if given_already else exact[row, order].astype(np.float32)
        assert found["probabilities"][row].as_py() == pytest.approx(wanted.tolist(), rel=1e-6)
    assert columns(outputs, [sum(sizes)]) == found


def test_outputs_that_are_probabilities_stay_so() -> None:
    outputs = np.array([[0.25, 0.5, 0.25], [0, 1, 0], [3, 1, 0]], np.float32)
    found = columns(outputs, [3])["probabilities"].to_pylist()
    assert found[:2] == [[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]
    assert found[2] == pytest.approx((np.exp([3, 1, 0]) / np.exp([3, 1, 0]).sum()).tolist())


def test_a_layer_with_positions_predicts_nothing() -> None:
    predictions = Predictions(layer(3, grid=2))
    predictions.add(torch.rand(2, 3))
    assert predictions.columns() == {}


def test_the_columns_are_those_of_a_part() -> None:
    for name, column in columns(np.eye(3, dtype=np.float32), [3]).items():
        assert column.type == PART_IMAGES.field(name).type


def test_room_that_grows_keeps_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = np.random.default_rng(0).normal(size=(23, 4)).astype(np.float32)
    whole = columns(outputs, [23])
    monkeypatch.setattr(predictions_module, "_RESERVED", 1)
    assert columns(outputs, [3, 1, 9, 1, 1, 8]) == whole
