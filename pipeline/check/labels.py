"""The labels that the dataset has, where an index shows the names of its classes for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.runs.label_names import names_by_label, names_given
from pipeline.state.commit import Commit

__all__ = ["labels_by_name"]


def labels_by_name(run: Mapping[str, Any], commits: Sequence[Commit]) -> dict[str, str]:
    """The label in the dataset for every label that the tables show under a class's name.

    Without parts, which have the labels as they were read, or with damaged ones, they are taken to be
    plain numbers.

    Args:
        run: content of the index's run.json.
        commits: its parts; none if they are gone.

    Returns:
        Labels by name; empty where the tables show the dataset's own.
    """
    names = names_given(run)
    if names is None:
        return {}
    try:
        tables = [pq.read_table(commit.folder / "labels.parquet", columns=["label"]) for commit in commits]
        read = [str(label) for table in tables for label in table["label"].to_pylist()]
    except (pa.ArrowException, OSError, KeyError):
        read = []  # another step of the check names the file
    named = names_by_label(sorted({*read}) or [*map(str, range(len(names)))], names)
    return {name: label for label, name in (named or {}).items()}
