"""Which images of an index are meant: a condition in SQL, and a label that they must not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.errors import QueryError

if TYPE_CHECKING:
    from pipeline.query.index import Index

__all__ = ["Condition"]

_FEW_IMAGES = 1 << 16
"""Images that are named in a query; more are taken from the result for all."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Which images are meant.

    Args:
        where: a condition in SQL over the view `images`; None for all.
        without_label: a label that they must not have.
    """

    where: str | None = None
    without_label: str | None = None

    def check(self, index: Index) -> None:
        """Refuse a condition that no image can be tested with.

        Raises:
            QueryError: when it is no text, or DuckDB cannot use it.
            UsageError: when no image has that label.
        """
        if self.where is not None and not isinstance(self.where, str):
            raise QueryError(f"a condition on images must be SQL, got {self.where!r}")
        if self.without_label is not None:
            index.require_label(self.without_label)
        if not self:
            return
        try:
            self.among(index, np.zeros(0, np.int64))
        except QueryError as error:
            if self.where is None:
                raise
            raise QueryError(
                f"the condition {self.where!r} cannot be used: {error}; give one over the columns of "
                "`images`, such as width > 500"
            ) from error

    def __bool__(self) -> bool:
        """Whether it leaves out any image."""
        return self.where is not None or self.without_label is not None

    def among(self, index: Index, image_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """(image,) which of some images are meant.

        Raises:
            QueryError: when DuckDB cannot use the condition.
        """
        if not self:
            return np.ones(len(image_ids), np.bool_)
        conditions = [] if self.where is None else [f"({self.where}\n)"]  # it may end with a comment
        bound: dict[str, object] = {}
        if self.without_label is not None:
            conditions.append("label IS DISTINCT FROM $without_label")
            bound["without_label"] = self.without_label
        if len(image_ids) <= _FEW_IMAGES:
            conditions.append("image_id IN (SELECT unnest($ids))")
            bound["ids"] = image_ids.tolist()
        text = f"SELECT image_id FROM images WHERE {' AND '.join(conditions)}"
        meant = np.array([row[0] for row in index.sql(text, **bound).rows], np.int64)
        return np.isin(image_ids, meant)
