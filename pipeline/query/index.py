"""Read an index: DuckDB views, SQL, named queries, and the bytes of any image.

with open_index(Path("out/demo")) as index:
    for image in index.top("blocks.4.2", 17):
        print(image.rank, image.activation, image.key, image.box)
    print(index.query("label_units", label="zebra").rows)
    print(index.sql("SELECT layer, count(*) FROM units GROUP BY layer").rows)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import duckdb

from pipeline.data.content import byte_digest
from pipeline.errors import LayerError, QueryError, StoreError, UsageError, did_you_mean
from pipeline.images.preprocess import Box, Preprocess
from pipeline.query.named_queries import NamedQuery, Value, load_query
from pipeline.query.results import QueryResult, Side, TopImage
from pipeline.query.selection import match_names, parse_units
from pipeline.query.views import create_views, read_preprocess
from pipeline.store.run_file import read_finished_run

if TYPE_CHECKING:
    from pipeline.data.dataset import Dataset
    from pipeline.layers.layer import Layer

__all__ = ["ChangedImage", "Index", "QueryResult", "Side", "TopImage", "open_index"]

_TOP = """
SELECT layer, unit, rank, activation, image_id, y, x, key, label, width, height, origin,
       duplicate_of, box_left, box_top, box_right, box_bottom
FROM patches
WHERE layer = $layer AND unit IN (SELECT unnest($units)) AND side = $side AND rank <= $n
ORDER BY unit, rank
"""

_PLACES = """
SELECT image_id, digest, shard, key, "offset", bytes FROM images
WHERE image_id IN (SELECT unnest($ids)) ORDER BY image_id
"""


class ChangedImage(StoreError):
    """An image of the dataset is not the one that was indexed."""


def open_index(out: Path) -> Index:
    """Open a finished index; use it as a context manager, or close it.

    Raises:
        StoreError: when OUT holds no finished index, or a table cannot be read.
    """
    return Index(Path(out))


class Index:
    """An open index; see `open_index`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.run: dict[str, Any] = read_finished_run(out)
        self.preprocess: Preprocess = read_preprocess(self.run, out)
        self._connection = duckdb.connect()
        try:
            create_views(self._connection, out, self.preprocess)
            self._units: dict[str, int] = dict(
                self._fetch("SELECT layer, units FROM layers ORDER BY ordinal", {}).rows
            )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Nothing more to open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Give the database back."""
        self._connection.close()

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The probed layers, in forward order."""
        from pipeline.layers.layer import Layer

        rows = self._fetch("SELECT * FROM layers ORDER BY ordinal", {}).dicts()
        names = {field.name for field in fields(Layer)}
        return tuple(
            Layer(name=row.pop("layer"), **{k: v for k, v in row.items() if k in names}) for row in rows
        )

    def layer(self, name: str) -> Layer:
        """One layer by its name.

        Raises:
            LayerError: when it is not in this index; the nearest names are suggested.
        """
        self.unit_count(name)
        return next(layer for layer in self.layers if layer.name == name)

    def unit_count(self, layer: str) -> int:
        """How many units a layer has.

        Raises:
            LayerError: when it is not in this index; the nearest names are suggested.
        """
        if layer not in self._units:
            hint = did_you_mean(layer, self._units) or f"; it has {', '.join(self._units)}"
            raise LayerError(f"{self.out} has no layer {layer!r}{hint}")
        return self._units[layer]

    def choose(self, patterns: Sequence[str], units: str) -> list[tuple[Layer, tuple[int, ...]]]:
        """Layers by names or globs (all for none), and the units meant of each.

        One layer must have all the units; of several, each gives those that it has.

        Raises:
            LayerError: when a pattern matches nothing.
            UsageError: when no layer has such units.
        """
        names = match_names(patterns, list(self._units), where=str(self.out))
        if len(names) == 1:
            return [(self.layer(names[0]), self.units(names[0], units))]
        found = [
            (self.layer(name), parse_units(units, self._units[name], where=name, clip=True)) for name in names
        ]
        if not any(chosen for _, chosen in found):
            raise UsageError(f"none of {', '.join(names)} has units {units}")
        return [(layer, chosen) for layer, chosen in found if chosen]

    def units(self, layer: str, text: str) -> tuple[int, ...]:
        """Units as a command line writes them; see `parse_units`."""
        count, classes = self.unit_count(layer), self.class_names(layer)
        return parse_units(text, count, where=layer, classes=classes)

    def unit(self, layer: str, text: str) -> int:
        """One unit by its number, or by its class name in a classifier.

        Raises:
            LayerError: for a layer that is not in the index.
            UsageError: when that is not one unit of the layer.
        """
        units = self.units(layer, text)
        if len(units) != 1:
            raise UsageError(f"{text!r} are {len(units)} units of {layer}; give one of them")
        return units[0]

    def class_names(self, layer: str) -> tuple[str, ...] | None:
        """The network's class names, where the layer is its classifier and they are known."""
        classes = self.run.get("network", {}).get("classes")
        last = next(reversed(self._units), None)
        if not classes or layer != last or len(classes) != self.unit_count(layer):
            return None
        return tuple(str(name) for name in classes)

    def sql(self, text: str, **params: object) -> QueryResult:
        """Run SQL over the views; `$name` in the text is bound to the keyword of that name.

        Raises:
            QueryError: when it does not run.
        """
        return self._fetch(text, params)

    def query(self, name: str, **params: object) -> QueryResult:
        """Run a named query (see `pipeline.query.named_queries`).

        Raises:
            QueryError: when there is no such query.
            UsageError: for a missing, unknown or ill-typed parameter, or a unit out of range.
            LayerError: for a layer that is not in the index.
        """
        query = load_query(name)
        values = query.values(params)
        self._check(query, values)
        for parameter in query.parameters:
            if parameter.kind == "index":
                self._attach(parameter.name, Path(str(values.pop(parameter.name))))
        return self._fetch(query.sql, values)

    def top(self, layer: str, unit: int, *, n: int = 9, side: Side = "high") -> list[TopImage]:
        """The images with the highest (or lowest) peaks of one unit, strongest first.

        Raises:
            LayerError: for a layer that is not in the index.
            UsageError: for a unit out of range.
        """
        return self.tops(layer, [unit], n=n, side=side)[unit]

    def tops(
        self, layer: str, units: Sequence[int], *, n: int = 9, side: Side = "high"
    ) -> dict[int, list[TopImage]]:
        """As `top`, for several units of a layer in one query."""
        for unit in units:
            self._check_unit(layer, unit)
        bound = {"layer": layer, "units": list(units), "side": side, "n": n}
        found: dict[int, list[TopImage]] = {unit: [] for unit in units}
        for row in self._fetch(_TOP, bound).dicts():
            box = Box(*(row.pop(f"box_{edge}") for edge in ("left", "top", "right", "bottom")))
            found[row["unit"]].append(TopImage(box=box, **row))
        return found

    @cached_property
    def dataset(self) -> Dataset:
        """The indexed dataset, opened where the run found it.

        Raises:
            SourceError: when it is no longer there.
        """
        from pipeline.data.dataset import open_dataset

        cache = self.run.get("config", {}).get("cache")
        return open_dataset(tuple(self.run["dataset"]["data"]), cache=None if cache is None else Path(cache))

    def image_bytes(self, image_id: int) -> bytes:
        """The file of one image, read back by its offset.

        Raises:
            QueryError: when the index has no such image.
            SourceError: when the dataset has moved, or no longer has the image.
            ChangedImage: when the image has other bytes than when it was indexed.
        """
        return next(data for _, data in self.iterate_bytes([image_id]))

    def iterate_bytes(self, image_ids: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """As `image_bytes`, for several images, in rising order of image_id."""
        wanted = sorted(set(image_ids))
        rows = self._fetch(_PLACES, {"ids": wanted}).rows
        missing = sorted(set(wanted) - {row[0] for row in rows})
        if missing:
            raise QueryError(f"{self.out} has no image with image_id {missing[0]}")
        for image_id, digest, shard, key, offset, size in rows:
            data = self.dataset.read(shard, key, offset, size)
            if byte_digest(data) != digest:
                raise ChangedImage(
                    f"image {key!r} of shard {shard}: the bytes read back are not those that were indexed; "
                    "the dataset has changed since it was indexed, restore it or index again"
                )
            yield image_id, data

    def _check(self, query: NamedQuery, values: Mapping[str, Value]) -> None:
        """Layers, units and labels must exist: a query that gives no row explains nothing."""
        for parameter in query.parameters:
            value = values[parameter.name]
            if value is None:
                continue
            if parameter.kind == "layer":
                self.unit_count(str(value))
            elif parameter.kind == "label":
                self._check_label(str(value))
            elif parameter.kind == "unit" and values.get("layer") is not None:
                self._check_unit(str(values["layer"]), int(value))

    def _check_unit(self, layer: str, unit: int) -> None:
        count = self.unit_count(layer)
        if not 0 <= unit < count:
            raise UsageError(f"{layer} has {count:,} units, numbered 0-{count - 1}; got {unit}")

    def _check_label(self, label: str) -> None:
        rows = self._fetch(
            "SELECT DISTINCT label FROM images WHERE label IS NOT NULL ORDER BY label", {}
        ).rows
        labels = [row[0] for row in rows]
        if label not in labels:
            hint = did_you_mean(label, labels) or f"; it has {len(labels):,} labels"
            raise UsageError(f"{self.out} has no image labelled {label!r}{hint}")

    def _attach(self, schema: str, out: Path) -> None:
        """Make a second index's views in a schema of their own.

        Raises:
            StoreError: when it is of another dataset, so that its image numbers mean others.
        """
        run = read_finished_run(out)
        create_views(self._connection, out, read_preprocess(run, out), schema=schema)
        ours, theirs = (
            self._fetch(f'SELECT count(*), bit_xor(hash(image_id, key)) FROM "{name}".images', {}).rows
            for name in ("main", schema)
        )
        if ours != theirs:
            raise StoreError(
                f"{out} was made from another dataset than {self.out} ({theirs[0][0]:,} images "
                f"against {ours[0][0]:,}); two indexes are compared on one dataset"
            )

    def _fetch(self, text: str, params: Mapping[str, object]) -> QueryResult:
        """Run on a cursor of its own: a second execute would end an earlier result."""
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(text, dict(params))
                columns = tuple(column[0] for column in cursor.description or ())
                return QueryResult(columns, cursor.fetchall())
            except duckdb.Error as error:
                raise QueryError(_one_line(error)) from error


def _one_line(error: duckdb.Error) -> str:
    """DuckDB's message without the drawing of the statement."""
    text = str(error).split("\nLINE ")[0]
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())
