"""Writes the final tables of an index from its committed parts.

Parts are read one after another in the order of their shards and merged in memory: the size of a
state depends on the number of units, not of images. The tables of images and errors are streamed
(see `pipeline.runs.image_tables`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.errors import StoreError
from pipeline.layers.layer import Layer
from pipeline.progress import Reporter, Silent
from pipeline.runs.image_tables import write_records
from pipeline.runs.label_names import name_labels
from pipeline.runs.predictions import find_classifier
from pipeline.state import statistics as stats
from pipeline.state.commit import Commit
from pipeline.state.label_sums import selectivity
from pipeline.state.part import Part, merge_parts
from pipeline.state.sample import STRATA_COUNT, strata_rows
from pipeline.state.topk import NO_IMAGE, Ranked
from pipeline.state.unit_state import UnitState
from pipeline.store import tables as store
from pipeline.store.run_file import Totals
from pipeline.store.schemas import CLASSES, DEFAULTS, HISTOGRAMS, LAYERS, SCHEMAS, STRATA, TOP, UNITS

__all__ = ["write_index"]

_LEVELS = (0.5, 0.9, 0.99, 0.999)
_UNITS_PER_BATCH = 4096

_SOUGHT_ROWS = 1_000_000
"""Rows of `top` from which on its image_ids get Bloom filters: a smaller table is scanned in no time."""


def write_index(
    out: Path,
    layers: Sequence[Layer],
    commits: Sequence[Commit],
    *,
    fingerprint: str,
    classes: int | None = 20,
    class_names: Sequence[str] | None = None,
    network_classes: Sequence[str] | None = None,
    reporter: Reporter | None = None,
) -> Totals:
    """Merge committed parts and write every table of an index.

    Args:
        out: folder of the index.
        layers: in forward order, as their units are in the parts.
        commits: of disjoint shards.
        fingerprint: written into the footers.
        classes: labels kept per unit; None keeps all.
        class_names: names for labels that are numbers, see `pipeline.runs.label_names`.
        network_classes: names of the classes that the network predicts, where they are known.
        reporter: shows the progress.

    Raises:
        StoreError: when a part is damaged or a table cannot be written.
    """
    reporter = reporter or Silent()
    units = sum(layer.units for layer in layers)
    shards = tuple(sorted((shard for commit in commits for shard in commit.shards), key=lambda s: s.name))
    with reporter.task("merging parts", len(commits), "parts") as task:

        def loaded() -> Iterator[Part]:
            for commit in commits:
                if commit.units != units:
                    raise StoreError(f"{commit.path} has {commit.units} units, the layers have {units}")
                commit.verify()
                yield commit.load(records=False)
                task.advance()

        merged = merge_parts(loaded(), units, commits[0].k if commits else 1).state.informative()
    footer = {"maxact.fingerprint": fingerprint}
    classifier = find_classifier(layers, network_classes, merged.labels.labels)
    merged, names = name_labels(merged, class_names, reporter)
    digests = write_records(out, commits, shards, footer, names, classifier)
    probed = _layer_table(layers)
    tables = {
        "layers": (probed.schema, iter([probed])),
        "top": (TOP, _top_tables(layers, merged)),
        "units": (UNITS, _unit_tables(layers, merged, _labels_of_top(out, merged))),
        "strata": (STRATA, _strata_tables(layers, merged)),
        "classes": (CLASSES, _class_tables(layers, merged, classes)),
        "histograms": (HISTOGRAMS, _histogram_tables(layers, merged)),
    }
    for name, (schema, batches) in tables.items():
        sought = "image_id" if name == "top" and 2 * merged.high.score.size >= _SOUGHT_ROWS else None
        digests[name] = store.write_table(
            out / f"{name}.parquet", schema, batches, metadata=footer, sought=sought
        )
    errors = sum(shard.errors for shard in shards)
    return Totals(
        images=merged.moments.images,
        errors=errors,
        units=units,
        layers=len(layers),
        shards=len(shards),
        tables={name: digests[name] for name in SCHEMAS},
        parts=tuple(sorted(commit.path.stem for commit in commits)),
    )


def _layer_table(layers: Sequence[Layer]) -> pa.Table:
    """One row per layer; columns that have their default everywhere are left out, see `DEFAULTS`."""
    records = [layer.record() for layer in layers]
    given = {name for record in records for name in record} - {"name"}
    columns = [field for field in LAYERS if field.name in given or field.name not in DEFAULTS["layers"]]
    rows = [
        {"layer": layer.name, "positions": layer.positions, **record}
        for layer, record in zip(layers, records, strict=True)
    ]
    return pa.Table.from_pylist(rows, pa.schema(columns))


def _spans(layers: Sequence[Layer]) -> Iterator[tuple[Layer, int, slice]]:
    """Batches of units: the layer, its first unit in the batch, and the span on the common axis."""
    offset = 0
    for layer in layers:
        for first in range(0, layer.units, _UNITS_PER_BATCH):
            last = min(first + _UNITS_PER_BATCH, layer.units)
            yield layer, first, slice(offset + first, offset + last)
        offset += layer.units


def _names(text: str, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([text]))


def _peak_columns(layer: Layer, image_id: np.ndarray, position: np.ndarray) -> dict[str, np.ndarray]:
    grid_w = max(layer.grid_w, 1)
    return {
        "image_id": image_id.astype(np.int64),
        "y": (position // grid_w).astype(np.int32),
        "x": (position % grid_w).astype(np.int32),
    }


def _top_tables(layers: Sequence[Layer], merged: UnitState) -> Iterator[pa.Table]:
    for layer, first, span in _spans(layers):
        pieces = [
            _side(layer, first, side, sign, getattr(merged, side), span)
            for side, sign in (("high", 1), ("low", -1))
        ]
        side = np.repeat([0, 1], [piece.num_rows for piece in pieces])
        table = pa.concat_tables(pieces).unify_dictionaries()
        yield table.take(np.lexsort((table["rank"], side, table["unit"])))


def _side(layer: Layer, first: int, side: str, sign: int, lists: Ranked, span: slice) -> pa.Table:
    image_id = lists.image_id[span]
    row, slot = (image_id != NO_IMAGE).nonzero()
    activation = lists.score[span][row, slot] * np.float32(sign) + np.float32(0)
    return pa.table(
        {
            "layer": _names(layer.name, len(row)),
            "unit": (row + first).astype(np.int32),
            "side": _names(side, len(row)),
            "rank": (slot + 1).astype(np.int32),
            "activation": activation,
            **_peak_columns(layer, image_id[row, slot], lists.position[span][row, slot]),
        }
    ).cast(TOP)


def _labels_of_top(out: Path, merged: UnitState) -> list[list[str | None]]:
    """The labels of every unit's top images, best first, read from images.parquet."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    ids = merged.high.image_id
    wanted = np.unique(ids[ids != NO_IMAGE])
    found_ids: list[np.ndarray] = []
    found_labels: list[str | None] = []
    file = pq.ParquetFile(out / "images.parquet")
    for batch in file.iter_batches(columns=["image_id", "label"]):
        kept = batch.filter(pc.is_in(batch["image_id"], pa.array(wanted)))
        found_ids.append(kept["image_id"].to_numpy(zero_copy_only=False))
        found_labels.extend(kept["label"].to_pylist())
    order = np.concatenate(found_ids) if found_ids else np.zeros(0, np.int64)
    names = np.array([*found_labels, None], dtype=object)
    rows = np.searchsorted(order, ids)
    rows = np.where(ids == NO_IMAGE, len(order), rows)
    labels: list[list[str | None]] = names[rows].tolist()
    return labels


def _majority(labels: list[str | None]) -> tuple[str | None, float | None]:
    """The most common label of a unit's top images (of equal ones the first) and its share."""
    known = [label for label in labels if label is not None]
    if not known:
        return None, None
    best = max(dict.fromkeys(known), key=known.count)
    return best, known.count(best) / len(known)


def _unit_tables(
    layers: Sequence[Layer], merged: UnitState, top_labels: list[list[str | None]]
) -> Iterator[pa.Table]:
    moments = merged.moments
    images = max(moments.images, 1)
    low = np.where(moments.images, moments.low, np.nan).astype(np.float32)
    high = np.where(moments.images, moments.high, np.nan).astype(np.float32)
    index, best = selectivity(merged.labels, moments.low)
    index[moments.constant] = np.nan
    # The last name is that of a label which does not exist.
    best = np.where(moments.constant, len(merged.labels.labels), best)
    names = (*merged.labels.labels, None)
    for layer, first, span in _spans(layers):
        levels = stats.quantiles(merged.histogram[span], _LEVELS, low[span], high[span])
        majority = [_majority(labels) for labels in top_labels[span]]
        count = span.stop - span.start
        yield pa.table(
            {
                "layer": _names(layer.name, count),
                "unit": np.arange(first, first + count, dtype=np.int32),
                "images": np.full(count, moments.images, np.int64),
                "mean": moments.mean[span],
                "std": np.sqrt(moments.m2[span] / images),
                "min": low[span],
                "max": high[span],
                "active_fraction": moments.active[span] / images,
                **dict(zip(("p50", "p90", "p99", "p999"), levels.T, strict=True)),
                "selectivity": pa.array(index[span], from_pandas=True),
                "top_label": pa.array([names[row] for row in best[span]], pa.string()),
                "majority_label": pa.array([name for name, _ in majority], pa.string()),
                "precision": pa.array([share for _, share in majority], pa.float32()),
            }
        ).cast(UNITS)


def _strata_tables(layers: Sequence[Layer], merged: UnitState) -> Iterator[pa.Table]:
    edges = tuple(number / STRATA_COUNT for number in range(1, STRATA_COUNT))
    for layer, first, span in _spans(layers):
        sample = merged.sample.columns(span)
        varies = ~merged.moments.constant[span]
        cuts = stats.quantiles(
            merged.histogram[span], edges, merged.moments.low[span], merged.moments.high[span]
        )
        unit, stratum, row = strata_rows(sample, cuts)
        unit, stratum, row = (column[varies[unit]] for column in (unit, stratum, row))
        yield pa.table(
            {
                "layer": _names(layer.name, len(unit)),
                "unit": unit + np.int32(first),
                "stratum": stratum,
                "activation": sample.peak[row, unit],
                **_peak_columns(layer, sample.image_id[row], sample.position[row, unit]),
            }
        ).cast(STRATA)


def _class_tables(layers: Sequence[Layer], merged: UnitState, classes: int | None) -> Iterator[pa.Table]:
    sums = merged.labels
    if not sums.labels:
        return
    kept = min(classes or len(sums.labels), len(sums.labels))
    dictionary = pa.array(sums.labels, pa.string())
    for layer, first, span in _spans(layers):
        mean = sums.means(span).T
        order = np.argsort(-mean, axis=1, kind="stable")[:, :kept]
        rows = order.reshape(-1)
        yield pa.table(
            {
                "layer": _names(layer.name, len(rows)),
                "unit": np.repeat(np.arange(len(order), dtype=np.int32) + first, kept),
                "label": pa.DictionaryArray.from_arrays(rows.astype(np.int32), dictionary),
                "images": sums.label_images[rows],
                "mean_peak": np.take_along_axis(mean, order, 1).reshape(-1),
            }
        ).cast(CLASSES)


def _histogram_tables(layers: Sequence[Layer], merged: UnitState) -> Iterator[pa.Table]:
    lower, upper = stats.bucket_bounds()
    for layer, first, span in _spans(layers):
        counts = merged.histogram[span]
        unit, bucket = counts.nonzero()
        yield pa.table(
            {
                "layer": _names(layer.name, len(unit)),
                "unit": (unit + first).astype(np.int32),
                "lower": lower[bucket],
                "upper": upper[bucket],
                "images": counts[unit, bucket],
            }
        ).cast(HISTOGRAMS)
