"""Find directions of a layer on the images of an index, and write them as a dictionary.

with open_index("out/demo") as index:
    find_directions(index, "blocks.4.2", Path("pca.safetensors"), method="pca", n=16)

Every position of every image gives a vector of the layer's channels. PCA takes all of them, by their exact
mean and covariance in float64. NMF and k-means take a sample of at most `SAMPLE` vectors, the same number
from each image, at positions that are drawn by the seed.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import get_args

import numpy as np
import numpy.typing as npt
import torch

from pipeline.choices import Device, DirectionMethod
from pipeline.devices import find_device
from pipeline.errors import LayerError, SourceError, UsageError
from pipeline.indexed_pass import run_indexed
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index
from pipeline.query.indexed_network import index_network
from pipeline.store.files import atomic_path
from pipeline.stream.placed import place_as_indexed
from pipeline.stream.probes import Peaks

__all__ = ["SAMPLE", "find_directions"]

SAMPLE = 200_000
"""Vectors that NMF and k-means are computed from, at most."""

Vectors = npt.NDArray[np.float32]
"""(vector, channel)."""

_ALL = "SELECT image_id FROM images ORDER BY image_id"


def find_directions(
    index: Index,
    layer: str,
    path: Path,
    *,
    method: DirectionMethod = "pca",
    n: int = 64,
    seed: int = 0,
    network: Network | str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    reporter: Reporter | None = None,
) -> Path:
    """Write the directions of a layer as a safetensors dictionary, see `pipeline.networks.dictionary_files`.

    Args:
        index: open.
        layer: of the index.
        path: the file to write.
        method: pca: the axes of largest variance, of which the first entry of largest size is positive;
            nmf: the parts of a non-negative factorisation; kmeans: centres less the mean. NMF and k-means
            have length 1.
        n: directions; at most as many as the layer has units for pca.
        seed: of the sample, and of NMF and k-means.
        network, weights: see `pipeline.query.indexed_network.index_network`.
        device: where the network runs.
        reporter: shown progress.

    Raises:
        UsageError: for another method, a number of directions out of range, or NMF of negative activations.
        LayerError: for a layer that is not in the index.
        SourceError: when scikit-learn, which NMF and k-means need, is not installed.
    """
    reporter = reporter or Silent()
    if method not in get_args(DirectionMethod):
        raise UsageError(f"--method must be {' or '.join(get_args(DirectionMethod))}, got {method!r}")
    chosen = index.layer(layer)
    most = chosen.units if method == "pca" else SAMPLE // 2
    if not 1 <= n <= most:
        raise UsageError(f"-n must be in 1..{most:,} for {method} of {layer}, got {n}")
    loaded = index_network(index, network=network, weights=weights)
    if method == "pca":
        mean, rows = _principal(_vectors(index, loaded, chosen, device, reporter), n)
    else:
        each = max(1, SAMPLE // max(1, int(index.run["counts"]["images"])))
        vectors = np.concatenate(
            list(_vectors(index, loaded, chosen, device, reporter, each=each, seed=seed))
        )
        mean, rows = _clustered(vectors, n, seed) if method == "kmeans" else _factored(vectors, n, seed)
    _write(path, mean, rows, {"activation": "none", "method": method, "layer": layer})
    return path


def _vectors(
    index: Index,
    network: Network,
    layer: Layer,
    device: Device,
    reporter: Reporter,
    *,
    each: int | None = None,
    seed: int = 0,
) -> Iterator[Vectors]:
    """The vectors of the images, a batch at a time; `each` of every image, at random positions, or all."""
    placed = place_as_indexed(network, index.run["config"], find_device(device))
    ids = [row[0] for row in index.sql(_ALL).rows]
    numbers: list[int] = []
    found: list[Vectors] = []

    def watch(_: int, peaks: Peaks) -> None:
        view = peaks.view.flatten(2).transpose(1, 2).float().cpu().numpy()  # (image, position, channel)
        for image, vectors in zip(numbers, view, strict=True):
            rows = slice(None)
            if each is not None and each < len(vectors):
                generator = np.random.default_rng([seed, image])
                rows = generator.choice(len(vectors), each, replace=False)  # type: ignore[assignment]
            found.append(vectors[rows])

    with reporter.task("reading", len(ids), "images") as task:
        for batch in run_indexed(index, placed, [layer], watch, ids, numbers.extend):
            task.advance(len(batch))
            yield np.concatenate(found)
            numbers.clear()
            found.clear()


def _principal(batches: Iterator[Vectors], n: int) -> tuple[Vectors, Vectors]:
    """Mean and the n principal axes, from exact sums."""
    count, total, products = 0, None, None
    for batch in batches:
        wide = batch.astype(np.float64)
        if total is None or products is None:
            shift = wide.mean(0)  # of the first batch: sums of squares around it lose fewer digits
            total, products = np.zeros(wide.shape[1]), np.zeros((wide.shape[1],) * 2)
        wide -= shift
        count += len(wide)
        total += wide.sum(0)
        products += wide.T @ wide
    if total is None or products is None:
        raise LayerError("the index has no images")
    mean = total / count
    _, axes = np.linalg.eigh(products / count - np.outer(mean, mean))
    rows = axes.T[::-1][:n]
    largest = np.abs(rows).argmax(1)
    rows = rows * np.sign(rows[np.arange(len(rows)), largest])[:, None]
    return (mean + shift).astype(np.float32), rows.astype(np.float32)


def _clustered(vectors: Vectors, n: int, seed: int) -> tuple[Vectors, Vectors]:
    """Mean, and the centres of k-means less it, of length 1."""
    _need_vectors(vectors, n)
    model = _library("cluster").MiniBatchKMeans(n, random_state=seed, n_init=3, batch_size=4096)
    mean = vectors.mean(0)
    rows = model.fit(vectors).cluster_centers_ - mean
    return mean, _unit_length(rows)


def _factored(vectors: Vectors, n: int, seed: int) -> tuple[Vectors, Vectors]:
    """No mean, and the parts of a non-negative factorisation, of length 1."""
    _need_vectors(vectors, n)
    if vectors.min() < 0:
        raise UsageError("nmf needs a layer without negative activations, such as one after a ReLU; use pca")
    model = _library("decomposition").MiniBatchNMF(n, random_state=seed, init="nndsvda", batch_size=4096)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it could go on: parts hardly change then
        rows = model.fit(vectors).components_
    return np.zeros(vectors.shape[1], np.float32), _unit_length(rows)


def _need_vectors(vectors: Vectors, n: int) -> None:
    if len(vectors) < n:
        raise UsageError(f"the images give {len(vectors):,} vectors, fewer than {n} directions")


def _unit_length(rows: npt.NDArray[np.floating]) -> Vectors:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(length > 0, length, 1)).astype(np.float32)


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"sklearn.{name}")
    except ModuleNotFoundError as error:
        raise SourceError(
            "nmf and kmeans need scikit-learn, which is not installed; run `pip install scikit-learn`, or "
            "use pca"
        ) from error


def _write(path: Path, mean: Vectors, rows: Vectors, notes: dict[str, str]) -> None:
    from safetensors.torch import save

    tensors = {
        "W_enc": torch.from_numpy(np.ascontiguousarray(rows.T)),
        "W_dec": torch.from_numpy(np.ascontiguousarray(rows)),
        "b_dec": torch.from_numpy(np.ascontiguousarray(mean)),
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, notes))
