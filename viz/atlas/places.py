"""Places of units in a plane: correspondence analysis of units and the images on their top lists.

The table of units (rows) and images (columns), 1 where the unit lists the image, is divided by the square
roots of its row and column sums. Its second and third singular vectors, divided by the square roots of the
row sums, are the coordinates (Benzécri 1973; for graphs: Dhillon 2001). Units that list the same images lie
together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Coordinates", "place_units"]

EXTRA = 8
"""Vectors beyond those asked for, with which the subspace iteration converges sooner (Halko et al. 2011)."""

STEPS = 40

Coordinates = npt.NDArray[np.float64]


def place_units(lists: Sequence[Sequence[int] | npt.NDArray[np.int64]]) -> Coordinates:
    """The places of units.

    Args:
        lists: image_ids on the list of each unit, each at most once; may be empty.

    Returns:
        (unit, 2), with a standard deviation of 1 over the units; (0, 0) for units without a list. The same
        lists give the same places.
    """
    places = np.zeros((len(lists), 2))
    rows = np.repeat(np.arange(len(lists)), [len(each) for each in lists])
    if not len(rows):
        return places
    _, columns = np.unique(
        np.concatenate([np.asarray(each, np.int64) for each in lists]), return_inverse=True
    )
    row_sums, column_sums = np.bincount(rows, minlength=len(lists)), np.bincount(columns)
    values = 1 / np.sqrt(row_sums[rows] * column_sums[columns])
    table = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([rows, columns])),
        torch.from_numpy(values),
        (len(lists), len(column_sums)),
        check_invariants=True,
    ).coalesce()
    # The first vectors are known: they say how long the lists are.
    first = torch.from_numpy(np.sqrt(row_sums / row_sums.sum()))
    found = _left_vectors(table, first, min(2, len(lists) - 1, len(column_sums) - 1))
    listed = row_sums > 0
    for axis, vector in enumerate(found):
        along = vector[listed] / np.sqrt(row_sums[listed])
        spread = along.std()
        if spread > 0:
            along = (along - along.mean()) / spread
            places[listed, axis] = along * (1 if along[np.abs(along).argmax()] > 0 else -1)
    return places


def _left_vectors(table: torch.Tensor, first: torch.Tensor, count: int) -> list[Coordinates]:
    """The left singular vectors of the highest singular values, orthogonal to a known one."""
    width = min(count + EXTRA, min(table.shape))
    if count < 1:
        return []
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(table.shape[0], width, dtype=torch.float64, generator=generator)
    for _ in range(STEPS):
        basis = basis - first[:, None] * (first @ basis)
        basis, _ = torch.linalg.qr(basis)
        basis = torch.sparse.mm(table, torch.sparse.mm(table.t(), basis))
    basis = basis - first[:, None] * (first @ basis)
    basis, _ = torch.linalg.qr(basis)
    within = torch.sparse.mm(table.t(), basis)
    _, vectors = torch.linalg.eigh(within.T @ within)
    return [(basis @ vectors[:, -1 - axis]).numpy() for axis in range(count)]
