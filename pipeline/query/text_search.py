"""Find units by a text: by the cosine of its embedding with the mean embedding of their strongest images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.errors import StoreError
from pipeline.query.index import Index
from pipeline.query.results import QueryResult
from pipeline.query.selection import Patterns
from pipeline.store.layout import SEMANTICS_TABLE, footer_of, holds_semantics

__all__ = ["refuse_other_encoder", "refuse_without_embeddings", "units_like"]

_MEANS = """
SELECT layers.layer, unit, clarity, embedding FROM semantics JOIN layers USING (layer)
WHERE layer IN (SELECT unnest($layers)) ORDER BY ordinal, unit
"""

COLUMNS = ("layer", "unit", "similarity", "clarity", "names")

_NAMES = """
SELECT layer, unit, string_agg(concept, ', ' ORDER BY rank) FROM names
WHERE source <> 'linear' AND layer IN (SELECT unnest($layers)) GROUP BY layer, unit
"""


def refuse_without_embeddings(index: Index, name: str) -> None:
    """Refuse an index whose units have no embeddings, before an encoder is loaded.

    Args:
        index: open.
        name: of the encoder, as it was given.

    Raises:
        StoreError: says which command embeds them.
    """
    if not holds_semantics(index.out, str(index.run["fingerprint"])):
        raise StoreError(f"the units of {index.out} have no embeddings; {_remedy(index, name)}")


def refuse_other_encoder(index: Index, name: str, fingerprint: str) -> None:
    """Refuse an index whose units have embeddings by another encoder.

    Args:
        index: open.
        name: of the encoder, as it was given.
        fingerprint: of the encoder.

    Raises:
        StoreError: says which command embeds them.
    """
    footer = footer_of(index.out / SEMANTICS_TABLE) or {}
    if footer.get("maxact.encoder") != fingerprint:
        made = footer.get("maxact.encoder_name", "another encoder")
        raise StoreError(
            f"the units of {index.out} were embedded by {made}, not {name}; {_remedy(index, name)}"
        )


def _remedy(index: Index, name: str) -> str:
    return f"run `maxact name {index.out} --encoder {name}` first"


def units_like(
    index: Index, embedding: npt.NDArray[np.floating], *, n: int, layers: Patterns = ()
) -> QueryResult:
    """The units whose images are nearest to an embedding.

    Args:
        index: open; its units have embeddings by the encoder that made this one.
        embedding: (dimension,) of length 1.
        n: units at most.
        layers: names or globs; all layers for none.

    Returns:
        Layer, unit, cosine, clarity and names; the highest cosine first, then in forward order.

    Raises:
        LayerError: when a pattern matches nothing.
        StoreError: when the embeddings of the units are not of that dimension.
    """
    chosen = [layer.name for layer, _ in index.choose(layers)]
    rows = index.sql(_MEANS, layers=chosen).rows
    names = {(layer, unit): text for layer, unit, text in index.sql(_NAMES, layers=chosen).rows}
    types = ("VARCHAR", "INTEGER", "DOUBLE", "FLOAT", "VARCHAR")
    if not rows:
        return QueryResult(COLUMNS, [], types)
    cosine = _cosines([row[3] for row in rows], embedding)
    best = np.argsort(-cosine, kind="stable")[:n]
    found = [
        (rows[place][0], rows[place][1], float(cosine[place]), rows[place][2], names.get(rows[place][:2], ""))
        for place in best
    ]
    return QueryResult(COLUMNS, found, types)


def _cosines(
    means: Sequence[Sequence[float]], embedding: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    if any(mean is None or len(mean) != len(embedding) or None in mean for mean in means):
        raise StoreError(
            f"{SEMANTICS_TABLE} has embeddings that are not of {len(embedding):,} numbers; write it again "
            "with `maxact name --encoder`"
        )
    points = np.array(means, np.float64)
    length = np.linalg.norm(points, axis=1)
    product: npt.NDArray[np.float64] = points @ embedding.astype(np.float64)
    cosine: npt.NDArray[np.float64] = np.divide(
        product, length, out=np.full(len(points), -1.0), where=length > 0
    )
    return cosine
