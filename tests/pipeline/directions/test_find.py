"""Directions of a layer: PCA against NumPy on the whole matrix, the file as a dictionary, bad calls."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file

from pipeline import indexed_pass
from pipeline.directions import find
from pipeline.directions.find import find_directions
from pipeline.errors import LayerError, SourceError, UsageError
from pipeline.images.decode import decode
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from tests.fixtures.commands import done, refused, run
from tests.fixtures.runs import config
from tests.fixtures.tiny import picture, tiny_network, write_tars

pytestmark = pytest.mark.slow

COUNT = 37


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("directions")
    run_index(config(write_tars(folder / "data", [20, COUNT - 20]), folder / "out"), network=tiny_network())
    return folder / "out"


@pytest.fixture(scope="module")
def matrix() -> npt.NDArray[np.float64]:
    """(position, channel) of the layer `first` over the whole dataset."""
    network = tiny_network()
    found: list[torch.Tensor] = []
    network.module.first.register_forward_hook(lambda _, inputs, output: found.append(output.clone()))
    pixels = torch.stack([decode(picture(number), network.preprocess) for number in range(COUNT)])
    with torch.no_grad():
        network.module(network.normalise(pixels))
    return found[0].permute(0, 2, 3, 1).reshape(-1, 5).double().numpy()


def directions(out: Path, path: Path, **options: object) -> dict[str, npt.NDArray[np.float32]]:
    with open_index(out) as index:
        find_directions(index, "first", path, network=tiny_network(), device="cpu", **options)  # type: ignore[arg-type]
    return {name: tensor.numpy() for name, tensor in load_file(path).items()}


def test_pca_is_that_of_the_whole_matrix(
    out: Path, matrix: npt.NDArray[np.float64], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = directions(out, tmp_path / "a.safetensors", method="pca", n=3)
    mean = matrix.mean(0)
    _, _, axes = np.linalg.svd(matrix - mean, full_matrices=False)
    np.testing.assert_allclose(found["b_dec"], mean, rtol=1e-5)
    for row, axis in zip(found["W_dec"], axes, strict=False):
        assert abs(row @ axis) == pytest.approx(1, abs=1e-5)
        assert row[np.abs(row).argmax()] > 0
    assert np.array_equal(found["W_enc"], found["W_dec"].T)
    monkeypatch.setattr(indexed_pass, "BATCH", 5)
    again = directions(out, tmp_path / "b.safetensors", method="pca", n=3)
    np.testing.assert_allclose(again["W_dec"], found["W_dec"], atol=1e-6)


@pytest.mark.parametrize("method", ["kmeans", "nmf"])
def test_samples_are_drawn_by_the_seed(
    out: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(find, "SAMPLE", COUNT * 30)
    if method == "nmf":
        with pytest.raises(UsageError, match="without negative activations"):
            directions(out, tmp_path / "a.safetensors", method=method, n=2)
        return
    first, same, other = (
        directions(out, tmp_path / f"{number}.safetensors", method=method, n=4, seed=seed)
        for number, seed in enumerate((1, 1, 2))
    )
    assert np.array_equal(first["W_dec"], same["W_dec"])
    assert not np.array_equal(first["W_dec"], other["W_dec"])
    np.testing.assert_allclose(np.linalg.norm(first["W_dec"], axis=1), 1, rtol=1e-5)


def test_parts_of_a_layer_without_negative_activations(out: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    vectors = np.abs(np.random.default_rng(0).normal(size=(400, 2))).astype(np.float32)
    parts = np.array([[1, 0, 2, 0, 0], [0, 1, 0, 0, 3]], np.float32)
    mean, rows = find._factored(vectors @ parts, 2, 0)
    assert not mean.any()
    for part in parts:
        assert (rows @ (part / np.linalg.norm(part))).max() == pytest.approx(1, abs=0.02)


def test_the_command_and_its_file_as_units(tmp_path: Path) -> None:
    tars = write_tars(tmp_path / "data", [12])
    options = ("--network", "tests.fixtures.tiny:factory", "--layers", "first", "--compile", "off")
    out, path = tmp_path / "out", tmp_path / "pca.safetensors"
    done("index", *tars, "-o", out, *options)
    assert done("directions", out, "--layer", "first", "-n", "2", "--output", path).stdout == f"{path}\n"
    done("index", *tars, "-o", tmp_path / "more", *options, "--dictionary", path, "--at", "first")
    with open_index(tmp_path / "more") as index:
        assert index.unit_count("first.pca") == 2
    for words, message in (
        (("--layer", "first", "-n", "6"), "-n must be in 1..5 for pca"),
        (("--layer", "firsts"), "has no layer 'firsts'"),
        (("--layer", "first", "--output", tmp_path / "x.pt"), "must end in .safetensors"),
    ):
        assert message in refused(run("directions", out, *words), 2)
    nowhere = tmp_path / "nowhere" / "x.safetensors"
    line = refused(run("directions", out, "--layer", "first", "-n", "2", "--output", nowhere))
    assert f"{nowhere}: No such file or directory" in line


def test_what_cannot_be_found_is_refused(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(UsageError, match=r"--method must be .*pca.*, got 'ica'"):
        directions(out, path, method="ica", n=1)
    with pytest.raises(UsageError, match="vectors, fewer than 99 directions"):
        find._need_vectors(np.zeros((98, 5), np.float32), 99)
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(SourceError, match="need scikit-learn, which is not installed; run `pip"):
        find._library("cluster")
    with pytest.raises(LayerError, match="the index has no images"):
        find._principal(iter(()), 1)
    assert not path.exists()
