"""Rows of `predictions`: the classes that the network gives each image, and whether they are its label's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.layers.layer import Layer
from pipeline.naming.hierarchy_file import imagenet_class
from pipeline.query.selection import class_units
from pipeline.runs.label_names import names_by_label
from pipeline.store.schemas import PREDICTIONS

__all__ = ["Classifier", "find_classifier", "units_of_labels"]

_IMAGENET_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Classifier:
    """The classes of a network, and which of them the labels of a dataset are.

    Args:
        names: one per unit of the last layer.
        of_label: the units that a label stands for; labels that are no class are left out.
    """

    names: tuple[str, ...]
    of_label: Mapping[str, tuple[int, ...]]

    def rows(self, images: pa.Table) -> pa.Table:
        """Rows of `PREDICTIONS`, the images in their order and the classes of each by rank.

        Args:
            images: of a part, with image_ids of the dataset, and the labels of the dataset.
        """
        lists = images["classes"].combine_chunks()
        counts = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
        units = _flat(images, "classes").to_numpy(zero_copy_only=False)
        row = np.repeat(np.arange(images.num_rows), counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        correct, known = self._correct(images["label"].to_pylist(), row, units)
        names = pa.DictionaryArray.from_arrays(pa.array(units.astype(np.int32)), pa.array(self.names))
        return pa.table(
            {
                "image_id": images["image_id"].to_numpy()[row],
                "rank": (np.arange(len(row)) - first + 1).astype(np.int32),
                "unit": units.astype(np.int32),
                "name": names.cast(pa.string()),
                "score": _flat(images, "scores"),
                "probability": _flat(images, "probabilities"),
                "correct": pa.array(correct, mask=~known),
            }
        ).cast(PREDICTIONS)

    def _correct(
        self, labels: Sequence[str | None], row: npt.NDArray[np.int64], units: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """For each prediction, whether it is the image's label, and whether that can be told."""
        found = [self.of_label.get(label, ()) if label is not None else () for label in labels]
        known = np.array([bool(each) for each in found], np.bool_)[row]
        correct = [unit in found[place] for place, unit in zip(row.tolist(), units.tolist(), strict=True)]
        return np.array(correct, np.bool_), known


def _flat(images: pa.Table, column: str) -> pa.Array:
    return images[column].combine_chunks().flatten()


def find_classifier(
    layers: Sequence[Layer], names: Sequence[str] | None, labels: Sequence[str]
) -> Classifier | None:
    """The classifier among the layers of an index, if there is one.

    It is the last layer, if that has no positions and as many units as there are names.

    Args:
        layers: in forward order.
        names: of the network's classes; None where they are not known.
        labels: all labels of the dataset, as it has them.
    """
    last = layers[-1]
    if not names or last.grid_h * last.grid_w != 1 or last.units != len(names):
        return None
    return Classifier(tuple(names), units_of_labels(labels, names))


def units_of_labels(labels: Sequence[str], names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The classes that labels stand for.

    Labels are numbers of classes, if all are whole numbers and the highest is the last class's; ids of
    ImageNet's classes, where there are 1000 classes; or names, whatever their case and with `_` for a
    space: the full name of a class, or one of its synonyms between commas.

    Args:
        labels: all labels of a dataset.
        names: one per class.

    Returns:
        Units by label; labels that are no class are left out.
    """
    if names_by_label(labels, names) is not None:
        return {label: (int(label),) for label in labels}
    by_name = class_units(names)
    found: dict[str, Any] = {}
    for label in labels:
        number = imagenet_class(label) if len(names) == _IMAGENET_CLASSES else None
        spaced = label.replace("_", " ").strip().casefold()
        found[label] = (number,) if number is not None else by_name.get(spaced, ())
    return {label: units for label, units in found.items() if units}
