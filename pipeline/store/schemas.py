"""The columns of every table, and the version of their layout."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

__all__ = [
    "CLASSES",
    "DEFAULTS",
    "DISSECTION",
    "EMBEDDINGS",
    "ERRORS",
    "HISTOGRAMS",
    "IMAGES",
    "LATER_TABLES",
    "LAYERS",
    "NAMES",
    "PART_IMAGES",
    "PATH_VERSION",
    "PREDICTIONS",
    "RENDERS",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "SEMANTICS",
    "STRATA",
    "THUMBNAILS",
    "TOP",
    "UNITS",
]

SCHEMA_VERSION = 1
"""Increased whenever a column changes its name, type or meaning."""

_NAME = pa.dictionary(pa.int32(), pa.string())
"""Strings that repeat in long runs: layers, sides, shards, labels."""


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


LAYERS = _schema(
    layer=pa.string(),
    ordinal=pa.int32(),
    kind=pa.string(),
    units=pa.int32(),
    prefix=pa.int32(),
    grid_h=pa.int32(),
    grid_w=pa.int32(),
    rf_h=pa.int32(),
    rf_w=pa.int32(),
    stride_y=pa.int32(),
    stride_x=pa.int32(),
    start_y=pa.int32(),
    start_x=pa.int32(),
    positions=pa.string(),
    position_order=pa.list_(pa.int32()),
)
"""One row per probed layer. `rf_*`, `stride_*` and `start_*` are in pixels of the network's input:
grid position y sees the rows start_y + y * stride_y up to, not including, that plus rf_h. The columns
of `DEFAULTS` are written only where a layer has another value."""


DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "layers": {"positions": "'grid'", "position_order": "NULL::INTEGER[]"}
}
"""Columns that a table may lack, with what they then hold, in SQL."""


IMAGES = _schema(
    image_id=pa.int64(),
    key=pa.string(),
    shard=_NAME,
    offset=pa.int64(),
    bytes=pa.int64(),
    width=pa.int32(),
    height=pa.int32(),
    label=_NAME,
    origin=_NAME,
    digest=pa.int64(),
    phash=pa.int64(),
    duplicate_of=pa.int64(),
)
"""One row per indexed image. `width` and `height` are those of the original after its EXIF
orientation; `duplicate_of` is the first image of the same bytes or of nearly the same perceptual
hash (see `pipeline.images.hashes`)."""


PART_IMAGES = pa.schema(
    [
        *IMAGES,
        pa.field("classes", pa.list_(pa.int32())),
        pa.field("scores", pa.list_(pa.float32())),
        pa.field("probabilities", pa.list_(pa.float32())),
    ]
)
"""The images of a part: those of `IMAGES` with the highest outputs of the last layer, highest first; null
where that has positions. The final tables have them in `predictions`."""


PREDICTIONS = _schema(
    image_id=pa.int64(),
    rank=pa.int32(),
    unit=pa.int32(),
    name=_NAME,
    score=pa.float32(),
    probability=pa.float32(),
    correct=pa.bool_(),
)
"""The classes that the network gives an image, the highest first; written where the last layer is a
classifier whose classes have names. `correct` is null where the image has no label, or one that is no
class."""


TOP = _schema(
    layer=_NAME,
    unit=pa.int32(),
    side=_NAME,
    rank=pa.int32(),
    activation=pa.float32(),
    image_id=pa.int64(),
    y=pa.int32(),
    x=pa.int32(),
)
"""The images of the highest (`side` = high) and lowest (low) peaks of each unit; rank 1 is the
most extreme; ties go to the lower image_id. (y, x) is the grid position of the peak."""


UNITS = _schema(
    layer=_NAME,
    unit=pa.int32(),
    images=pa.int64(),
    mean=pa.float64(),
    std=pa.float64(),
    min=pa.float32(),
    max=pa.float32(),
    active_fraction=pa.float64(),
    p50=pa.float32(),
    p90=pa.float32(),
    p99=pa.float32(),
    p999=pa.float32(),
    selectivity=pa.float32(),
    top_label=pa.string(),
    majority_label=pa.string(),
    precision=pa.float32(),
)
"""Statistics of each unit's peaks over all images: see `pipeline.state.statistics`."""


STRATA = _schema(
    layer=_NAME,
    unit=pa.int32(),
    stratum=pa.int32(),
    activation=pa.float32(),
    image_id=pa.int64(),
    y=pa.int32(),
    x=pa.int32(),
)
"""Images sampled from each tenth of a unit's range of peaks; stratum 0 is the lowest tenth."""


CLASSES = _schema(
    layer=_NAME,
    unit=pa.int32(),
    label=_NAME,
    images=pa.int64(),
    mean_peak=pa.float64(),
)
"""The labels with the highest mean peak, per unit, highest first."""


HISTOGRAMS = _schema(
    layer=_NAME,
    unit=pa.int32(),
    lower=pa.float32(),
    upper=pa.float32(),
    images=pa.int64(),
)
"""The non-empty buckets of each unit's histogram of peaks, in rising order."""


ERRORS = _schema(shard=pa.string(), key=pa.string(), error=pa.string(), message=pa.string())
"""Samples that could not be used: `error` is a short stable word, `message` says why."""


SCHEMAS: Mapping[str, pa.Schema] = {
    "layers": LAYERS,
    "images": IMAGES,
    "top": TOP,
    "units": UNITS,
    "strata": STRATA,
    "classes": CLASSES,
    "histograms": HISTOGRAMS,
    "errors": ERRORS,
    "predictions": PREDICTIONS,
}
"""The tables of an index; each is OUT/NAME.parquet."""

LATER_TABLES = frozenset({"predictions"})
"""Tables that indexes of earlier versions lack."""


THUMBNAILS = _schema(image_id=pa.int64(), width=pa.int32(), height=pa.int32(), jpeg=pa.binary())
"""What the network was shown of each image on a list of highest activations; written with
`--keep patches`, see `pipeline.runs.thumbnails`."""


NAMES = _schema(
    layer=_NAME,
    unit=pa.int32(),
    rank=pa.int32(),
    concept=_NAME,
    source=_NAME,
    correlation=pa.float64(),
    held_out=pa.float64(),
    combined=pa.float64(),
    images=pa.int64(),
    weight=pa.float64(),
)
"""The names of each unit, best first; written where the dataset has labels, and by `maxact name`, see
`pipeline.naming`."""


EMBEDDINGS = _schema(
    image_id=pa.int64(),
    left=pa.int32(),
    top=pa.int32(),
    right=pa.int32(),
    bottom=pa.int32(),
    embedding=pa.list_(pa.float32()),
)
"""One row per patch that an encoder has embedded; its window is in pixels of the network's input."""


SEMANTICS = _schema(
    layer=_NAME,
    unit=pa.int32(),
    images=pa.int32(),
    clarity=pa.float32(),
    polysemanticity=pa.float32(),
    redundancy=pa.float32(),
    nearest=pa.int32(),
    embedding=pa.list_(pa.float32()),
)
"""What the embeddings of its strongest images say of a unit, see `pipeline.naming.semantics`."""


DISSECTION = _schema(
    layer=_NAME,
    unit=pa.int32(),
    rank=pa.int32(),
    concept=_NAME,
    iou=pa.float64(),
    iou_held_out=pa.float64(),
    correlation=pa.float64(),
    correlation_held_out=pa.float64(),
    images=pa.int64(),
    threshold=pa.float32(),
    active=pa.float64(),
)
"""The concepts of masks that cover each unit's active places best; written by `maxact dissect`, see
`pipeline.dissection`."""


RENDERS = pa.schema(
    [
        pa.field("layer", _NAME),
        pa.field("unit", pa.int32()),
        pa.field("recipe", _NAME),
        pa.field("objective", _NAME),
        pa.field("facet", pa.int32()),
        pa.field("seed", pa.int64()),
        pa.field("activation", pa.float32()),
        pa.field("peak", pa.float32()),
        pa.field("best_real", pa.float32()),
        pa.field("p999", pa.float32()),
        pa.field("ratio", pa.float32()),
        pa.field("steps", pa.int32()),
        pa.field("best_step", pa.int32()),
        pa.field("status", _NAME),
        pa.field("relu", _NAME),
        pa.field("precision", _NAME),
        pa.field("file", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("box_left", pa.float32()),
        pa.field("box_top", pa.float32()),
        pa.field("box_right", pa.float32()),
        pa.field("box_bottom", pa.float32()),
        pa.field("images", pa.list_(pa.int64())),
        pa.field("fingerprint", pa.string()),
        pa.field("trace", pa.list_(pa.float32())),
        pa.field("index_fingerprint", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("path", pa.float32()),
        pa.field("no_path", pa.string()),
        pa.field("path_version", pa.int32()),
    ]
)
"""One row per rendering; written by `maxact render`, see `viz.render.table.Rendered`. Tables of earlier
versions lack some of the last columns."""

PATH_VERSION = 2
"""Increased whenever `path` of `renders` is measured otherwise. A path of another version counts as not
measured; those without a version were correlations."""
