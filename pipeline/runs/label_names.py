"""Replace labels that are numbers of classes by the classes' names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.progress import Reporter
from pipeline.state.label_sums import LabelSums

__all__ = ["name_labels", "names_by_label", "names_given", "rename_column"]


def names_by_label(labels: Sequence[str], names: Sequence[str]) -> dict[str, str] | None:
    """The name of every label, or None if the names are not those of the labels.

    They are if all labels are whole numbers and the highest is that of the last name: a dataset with
    labels 0 to 9 does not have the 1000 classes of ImageNet. Where several classes have one name,
    their numbers are added.

    Args:
        labels: all labels of a dataset.
        names: of the classes, from 0 on.
    """
    if not labels or not all(label.isdecimal() for label in labels):
        return None
    numbers = [int(label) for label in labels]
    if max(numbers) != len(names) - 1 or len({*numbers}) != len(numbers):
        return None
    shared = Counter(names)
    return {
        label: names[number] if shared[names[number]] == 1 else f"{names[number]} ({number})"
        for label, number in zip(labels, numbers, strict=True)
    }


def names_given(run: Mapping[str, Any]) -> Sequence[str] | None:
    """The class names that the user gave to a recorded run; None for the network's own, or none.

    Args:
        run: content of its run.json.
    """
    return run["network"]["classes"] if run["config"].get("class_names") else None


def name_labels(
    sums: LabelSums, names: Sequence[str] | None, reporter: Reporter
) -> tuple[LabelSums, dict[str, str]]:
    """Name the labels of all images, if the names are those of the labels.

    Args:
        sums: of all shards.
        names: that the user gave; None for none.
        reporter: told what is done.

    Returns:
        The sums, and the names by label; empty where labels stay as they are.
    """
    if names is None or not sums.labels:
        return sums, {}
    found = names_by_label(sums.labels, names)
    if found is None:
        last = len(names) - 1
        reporter.note(f"labels are kept: they are not whole numbers up to {last}, the last class name's")
        return sums, {}
    reporter.note(f"labels are numbers up to {len(names) - 1}: the class names are used for them")
    return sums.renamed(found), found


def rename_column(table: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """Rename the labels of a table of images."""
    place = table.schema.get_field_index("label")
    kind = table.schema.field(place).type
    labels = [names.get(label) if label is not None else None for label in table["label"].to_pylist()]
    return table.set_column(place, table.schema.field(place), pa.array(labels, pa.string()).cast(kind))
