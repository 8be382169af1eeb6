"""Dissects the units of an index: `dissection.parquet`, and names from masks in `names.parquet`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.choices import Device
from pipeline.dissection.masks import MaskedImage, Masks, open_mask_column, open_masks
from pipeline.dissection.measure import DissectedLayer, measure_layers
from pipeline.dissection.sums import DissectedUnits, judge_units
from pipeline.errors import LayerError, UsageError
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.progress import Reporter, Silent, readable_count
from pipeline.query.index import Index, open_index
from pipeline.query.indexed_network import index_network
from pipeline.query.selection import Patterns
from pipeline.remote.local import local_folder
from pipeline.runs.name_rows import (
    MASK_SOURCES,
    kept_names,
    names_encoder,
    other_sources,
    write_name_rows,
)
from pipeline.store.layout import DISSECTION_TABLE
from pipeline.store.leftovers import writing
from pipeline.store.run_file import locked, read_finished_run
from pipeline.store.schemas import DISSECTION, NAMES
from pipeline.store.tables import write_table

__all__ = ["LEAST_IOU", "QUANTILE", "Dissection", "dissect_index"]

QUANTILE = 0.995
"""Of a unit's activations, above which it is active (Bau et al. 2017, section 2.2)."""

LEAST_IOU = 0.04
"""Held-out intersection over union from which a concept is a unit's name (section 3.1)."""

_IMAGES = """
SELECT image_id, key, width, height, origin, digest, shard, "offset" FROM images ORDER BY image_id
"""


@dataclass(frozen=True, slots=True)
class Dissection:
    """What was dissected.

    Args:
        out: folder of the index.
        units: of all layers that were compared.
        named: units that a concept names.
        concepts: of the masks.
        images: that have masks.
        seconds: duration.
    """

    out: Path
    units: int
    named: int
    concepts: int
    images: int
    seconds: float

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.named:,} of {readable_count(self.units, 'unit')} named from masks of "
            f"{readable_count(self.images, 'image')} ({readable_count(self.concepts, 'concept')})"
        )


def dissect_index(
    out: Path | str,
    masks: Path | str,
    *,
    mask_names: Path | str | None = None,
    layers: Patterns = (),
    quantile: float = QUANTILE,
    network: Network | str | None = None,
    weights: str | Path | None = None,
    data: Path | str | Sequence[Path | str] = (),
    device: Device = "auto",
    trust: bool = False,
    reporter: Reporter | None = None,
) -> Dissection:
    """Compare the activation maps of units with segmentation masks, in place of an earlier comparison.

    Args:
        out: folder of a finished index.
        masks: folder of PNG files, or column of a dataset of Parquet files, see `pipeline.dissection.masks`.
        mask_names: file that names the numbers in masks; None for names.csv in the folder, if it is there.
        layers: names or globs; for none all that have a grid of positions.
        quantile: of a unit's activations at all positions of all images, above which it is active.
        network, weights: see `pipeline.query.indexed_network.index_network`.
        data: where the dataset is, if it has moved.
        device: where the network runs.
        trust: load what the index names although another user made it.
        reporter: shows the progress.

    Raises:
        UsageError: when no image has a mask, or an argument is out of range.
        LayerError: for a layer without positions.
        SourceError: when an image or a mask cannot be read, or a mask is of another size.
        MaxactError: when the index or its network cannot be loaded.
    """
    reporter, out, started = reporter or Silent(), local_folder(out, "*"), time.monotonic()
    if not isinstance(quantile, float | int) or not 0 < quantile < 1:
        raise UsageError(f"--quantile must be between 0 and 1, got {quantile!r}")
    if str(masks) == "":
        raise UsageError("--masks is empty; give a folder of PNG files, or a column of the dataset")
    named = None if mask_names is None else Path(mask_names)
    folder = open_masks(Path(masks), named) if _is_folder(masks) else None
    read_finished_run(out)  # before the folder is created or locked
    with locked(out), writing(out), open_index(out, trust=trust, data=data) as index:
        chosen = _layers(index, layers)
        given = folder or open_mask_column(str(masks), index.dataset, named)
        images = _masked(index, given, reporter)
        loaded = index_network(index, network=network, weights=weights)
        found = measure_layers(
            index, loaded, chosen, given, images, quantile=quantile, device=device, reporter=reporter
        )
        judged = [judge_units(each.sums) for each in found]
        fingerprint = str(index.run["fingerprint"])
        footer = {"maxact.fingerprint": fingerprint}
        rows = [_rows(*each, given) for each in zip(found, judged, strict=True)]
        others, encoder = kept_names(out, fingerprint, other_sources(MASK_SOURCES)), names_encoder(out)
        names = [_names(*each, given) for each in zip(found, judged, strict=True)]
        write_table(
            out / DISSECTION_TABLE,
            DISSECTION,
            [pa.concat_tables(rows).unify_dictionaries()],
            metadata=footer,
            sealed=True,
        )
        write_name_rows(out, index.layers, [*names, others], index_fingerprint=fingerprint, encoder=encoder)
    units = sum(layer.units for layer in chosen)
    named = sum(table.num_rows for table in names)
    return Dissection(out, units, named, len(given.concepts), len(images), time.monotonic() - started)


def _is_folder(masks: Path | str) -> bool:
    """Whether masks are a folder, or can only be one: the name of a column has no slash and no file."""
    path = Path(masks)
    return isinstance(masks, Path) or path.exists() or len(path.parts) != 1


def _layers(index: Index, patterns: Patterns) -> list[Layer]:
    """The layers to compare, which must have a grid of known positions.

    Raises:
        LayerError: names one that has none.
    """
    chosen = [layer for layer, _ in index.choose(patterns)]
    without = [layer for layer in chosen if layer.grid_h * layer.grid_w == 1 or layer.positions == "unknown"]
    given = bool(patterns) if isinstance(patterns, str) else bool(tuple(patterns))
    if (given and without) or len(without) == len(chosen):
        raise LayerError(
            f"layer {without[0].name} has no grid of known positions, which masks could be compared with"
        )
    return [layer for layer in chosen if layer not in without]


def _masked(index: Index, masks: Masks, reporter: Reporter) -> list[MaskedImage]:
    """The images that have a mask.

    Raises:
        UsageError: when none has one.
    """
    every = [MaskedImage(*row) for row in index.sql(_IMAGES).rows]
    found = [image for image in every if masks.has(image)]
    if not found:
        example = ascii(every[0].key) if every else "none"
        raise UsageError(
            f"the masks {masks} have none of an image of {index.out}, such as "
            f"{example}; the mask of a/b.jpg is a/b.png"
        )
    if len(found) < len(every):
        reporter.note(
            f"{len(every) - len(found):,} of {readable_count(len(every), 'image')} have no mask; they count "
            "for thresholds only"
        )
    return found


def _rows(layer: DissectedLayer, judged: DissectedUnits, masks: Masks) -> pa.Table:
    """Rows of dissection.parquet."""
    unit = judged.unit
    return pa.table(
        {
            "layer": pa.array([layer.layer.name] * len(unit), pa.string()),
            "unit": unit.astype(np.int32),
            "rank": judged.rank.astype(np.int32),
            "concept": pa.array([masks.concepts[number] for number in judged.concept], pa.string()),
            "iou": judged.iou,
            "iou_held_out": judged.iou_held_out,
            "correlation": judged.correlation,
            "correlation_held_out": judged.correlation_held_out,
            "images": judged.images,
            "threshold": layer.thresholds.value[unit],
            "active": layer.thresholds.share[unit],
        }
    ).cast(DISSECTION)


def _names(layer: DissectedLayer, judged: DissectedUnits, masks: Masks) -> pa.Table:
    """Rows of names.parquet: the best concept of each unit that it holds for on the other half."""
    rows = ((judged.rank == 1) & (judged.iou_held_out >= LEAST_IOU)).nonzero()[0]
    count = len(rows)
    return pa.table(
        {
            "layer": pa.array([layer.layer.name] * count, pa.string()),
            "unit": judged.unit[rows].astype(np.int32),
            "rank": np.ones(count, np.int32),
            "concept": pa.array([masks.concepts[number] for number in judged.concept[rows]], pa.string()),
            "source": pa.array(MASK_SOURCES * count, pa.string()),
            "correlation": judged.correlation[rows],
            "held_out": judged.correlation_held_out[rows],
            "combined": judged.correlation_held_out[rows],
            "images": judged.images[rows],
            "weight": judged.iou[rows],
        }
    ).cast(NAMES)
