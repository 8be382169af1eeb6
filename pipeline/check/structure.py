"""Whether the files of an index are what they must be before their rows can be compared.

Each table exists, has the columns of its schema and the fingerprint of the run in its footer.
`run.json` agrees with itself: the fingerprint is that of the run's identity, and what the identity
and the configuration both say is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.check.findings import Discrepancy, Findings
from pipeline.layers.layer import Layer
from pipeline.progress import readable_count
from pipeline.query.index import Index
from pipeline.runs.fingerprint import fingerprint, layer_fields
from pipeline.store.run_file import RUN_FILE
from pipeline.store.schemas import DEFAULTS, SCHEMA_VERSION, SCHEMAS

__all__ = ["check_counts", "check_files", "check_run", "layer_differences", "recorded_layers"]

_SAME_WORDS = ("top", "score", "precision", "decoder")
"""Fields of the configuration that the run's identity has too, under the same name."""

_COUNTED = {"images": "images", "errors": "errors", "units": "units", "layers": "layers"}
"""Numbers in run.json, and the tables whose rows they count."""


def check_files(out: Path, run: Mapping[str, Any]) -> Findings:
    """Compare the columns and footers of the tables with what this version and this run write.

    Args:
        out: folder of the index.
        run: the content of its run.json.
    """
    found = Findings()
    footer = {"maxact.schema_version": str(SCHEMA_VERSION), "maxact.fingerprint": str(run["fingerprint"])}
    for name, schema in SCHEMAS.items():
        path = out / f"{name}.parquet"
        try:
            actual = pq.read_schema(path)
        except FileNotFoundError:
            found.add(Discrepancy.of_index(f"{path.name} is missing"))
            continue
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())
            found.add(Discrepancy.of_index(f"{path.name} cannot be read: {reason}"))
            continue
        columns, expected = _columns(actual), _columns(schema)
        may_lack = {*DEFAULTS.get(name, {})} - {*actual.names}
        expected = [column for column in expected if column[0] not in may_lack]
        if columns != expected:
            found.add(
                Discrepancy.of_index(
                    f"{path.name} has the columns {_listed(columns, expected)}, "
                    f"expected {_listed(expected, columns)}"
                )
            )
        notes = {key.decode(): value.decode() for key, value in (actual.metadata or {}).items()}
        for key, value in footer.items():
            if notes.get(key) != value:
                found.add(
                    Discrepancy.of_index(
                        f"the footer of {path.name} has {key} {notes.get(key, 'missing')}, expected {value}"
                    )
                )
    return found


def _columns(schema: pa.Schema) -> list[tuple[str, str]]:
    """Names and types; a dictionary counts as the type of its values, and lists by that of their items."""
    return [(field.name, _type_name(field.type)) for field in schema]


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):  # Parquet renames the field of the items
        return f"list<{_type_name(kind.value_type)}>"
    return str(kind.value_type if pa.types.is_dictionary(kind) else kind)


def _listed(columns: list[tuple[str, str]], others: list[tuple[str, str]]) -> str:
    """The columns that the other list does not have at the same place."""
    places = [place for place, column in enumerate(columns) if others[place : place + 1] != [column]]
    return ", ".join(f"{columns[place][0]} {columns[place][1]}" for place in places) or "nothing more"


def check_run(run: Mapping[str, Any]) -> Findings:
    """Compare what run.json says in one place with what it says in another.

    Args:
        run: its content.
    """
    found = Findings()

    def compare(what: str, value: object, expected: object) -> None:
        if value != expected:
            found.add(Discrepancy.of_index(f"{RUN_FILE}: {what} is {value!r}, expected {expected!r}"))

    missing = [name for name in ("identity", "fields", "layers") if name not in run]
    if missing:
        found.add(Discrepancy.of_index(f"{RUN_FILE} has no {' and no '.join(missing)}"))
        return found
    identity, fields, config = run["identity"], run["fields"], run["config"]
    compare("fingerprint", run["fingerprint"], fingerprint(identity))
    compare(
        "identity without the dataset",
        {key: value for key, value in identity.items() if key != "dataset"},
        fields,
    )
    shards = readable_count(run["dataset"]["shards"], "shard")
    compare("dataset.shards", shards, str(identity.get("dataset")).partition(", listing")[0])
    # A network that was passed to `run_index` is recorded under its own name only.
    if config["network"] != fields.get("network"):
        compare("network.name", run["network"]["name"], fields.get("network"))
    for name in _SAME_WORDS:
        compare(f"config.{name}", config[name], fields.get(name))
    compare("config.memory_format", config["memory_format"], fields.get("memory format"))
    compare("network.digest", run["network"]["digest"], fields.get("weights"))
    compare("preprocess", run["preprocess"], fields.get("preprocess"))
    compare("layers", [layer_fields(layer) for layer in recorded_layers(run)], fields.get("layers"))
    return found


def check_counts(index: Index) -> Findings:
    """Compare the layers and counts in run.json with the tables.

    Args:
        index: open.
    """
    found = Findings()
    run = index.run
    for name, table in _COUNTED.items():
        ((rows,),) = index.sql(f"SELECT count(*) FROM {table}").rows
        if rows != run["counts"].get(name):
            found.add(
                Discrepancy.of_index(
                    f"{RUN_FILE}: counts.{name} is {run['counts'].get(name)}, but {table} has {rows} rows"
                )
            )
    recorded = recorded_layers(run)
    if len(recorded) != len(index.layers):
        what = f"the layers table has {len(index.layers)} layers, {RUN_FILE} {len(recorded)}"
        found.add(Discrepancy.of_index(what))
    for other, layer in zip(recorded, index.layers, strict=False):
        for difference in layer_differences(layer, other):
            found.add(Discrepancy(layer.name, -1, -1, f"the layers table has {difference} in {RUN_FILE}"))
    return found


def recorded_layers(run: Mapping[str, Any]) -> tuple[Layer, ...]:
    """The layers that run.json has, in its order; fields that `Layer` does not have are ignored."""
    known = {field.name for field in fields(Layer)}
    return tuple(
        Layer.from_record({name: value for name, value in layer.items() if name in known})
        for layer in run.get("layers", ())
    )


def layer_differences(layer: Layer, other: Layer) -> Iterator[str]:
    """The fields in which two layers differ, such as `rf_h 43, but 41`."""
    expected = asdict(other)
    for name, value in asdict(layer).items():
        if value != expected[name]:
            yield f"{name} {value}, but {expected[name]}"
