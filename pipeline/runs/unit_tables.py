"""Writes the final tables of an index from its committed parts.

Parts are merged a block of units at a time, and images shard by shard: neither the number of parts nor
that of units or images changes how much memory is needed, beyond a block (see `pipeline.state.merging`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from pipeline.engines.engine import Engine
from pipeline.engines.merge_work import spread_merge
from pipeline.layers.layer import Layer
from pipeline.progress import Reporter, Silent
from pipeline.runs.image_tables import write_records
from pipeline.runs.label_names import name_labels
from pipeline.runs.predictions import find_classifier
from pipeline.runs.top_labels import ImageLabels
from pipeline.runs.unit_rows import UnitRows
from pipeline.state.commit import Commit
from pipeline.state.merging import MergedParts
from pipeline.store import tables as store
from pipeline.store.digests import FileDigest
from pipeline.store.run_file import Totals
from pipeline.store.schemas import DEFAULTS, LAYERS, SCHEMAS

__all__ = ["write_index"]

_OF_UNITS = ("top", "units", "strata", "classes", "histograms")

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
    engine: Engine | None = None,
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
        engine: merges blocks of units; this process if None.

    Raises:
        StoreError: when a part is damaged or a table cannot be written.
    """
    reporter = reporter or Silent()
    units = sum(layer.units for layer in layers)
    shards = tuple(sorted((shard for commit in commits for shard in commit.shards), key=lambda s: s.name))
    with reporter.task("verifying parts", len(commits), "parts") as task:
        for commit in commits:
            commit.verify()
            task.advance()
    footer = {"maxact.fingerprint": fingerprint}
    with contextlib.ExitStack() as stack:
        with reporter.task("adding up labels", len(commits), "parts") as task:
            merged = stack.enter_context(MergedParts(commits, units, out, advance=task.advance))
        classifier = find_classifier(layers, network_classes, merged.labels.labels)
        sums, names = name_labels(merged.labels, class_names, reporter)
        labels = stack.enter_context(ImageLabels(out, sums.labels))
        with reporter.task("writing images", merged.images, "images") as task:
            digests = write_records(
                out, merged.commits, shards, footer, names, classifier, labels, task.advance
            )
        probed = _layer_table(layers)
        digests["layers"] = store.write_table(
            out / "layers.parquet", probed.schema, [probed], metadata=footer
        )
        rows = UnitRows(layers, sums, labels, classes)
        digests |= _write_units(out, merged, rows, footer, reporter, engine)
    return Totals(
        images=merged.images,
        errors=sum(shard.errors for shard in shards),
        units=units,
        layers=len(layers),
        shards=len(shards),
        tables={name: digests[name] for name in SCHEMAS},
        parts=tuple(sorted(commit.path.stem for commit in commits)),
    )


def _write_units(
    out: Path,
    merged: MergedParts,
    rows: UnitRows,
    footer: Mapping[str, str],
    reporter: Reporter,
    engine: Engine | None,
) -> dict[str, FileDigest]:
    """Write the tables of units side by side, a block of units after another."""
    sought = 2 * merged.units * merged.k >= _SOUGHT_ROWS
    parts = len(merged.commits) * len(merged.spans())
    with contextlib.ExitStack() as stack:
        tables = {
            name: stack.enter_context(
                store.writing_table(
                    out / f"{name}.parquet",
                    SCHEMAS[name],
                    metadata=footer,
                    sought="image_id" if name == "top" and sought else None,
                )
            )
            for name in _OF_UNITS
        }
        with reporter.task("merging parts", parts, "parts") as task:
            for block, state in merged.blocks(spread_merge(engine, task)):
                for name, table in rows.of_block(block, state.informative()):
                    tables[name].write(table)
    return {name: table.digest for name, table in tables.items()}


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
