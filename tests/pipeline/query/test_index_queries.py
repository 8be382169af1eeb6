from __future__ import annotations

import itertools
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.choices import Side
from pipeline.errors import DamagedFile, LayerError, QueryError, StoreError, UsageError
from pipeline.images.preprocess import Box, Fit, Preprocess
from pipeline.query.index import Index, open_index
from pipeline.query.named_queries import load_query
from pipeline.query.views import create_views, read_preprocess
from pipeline.store.schemas import IMAGES, LATER_TABLES, RENDERS, SCHEMAS, THUMBNAILS
from pipeline.store.schemas import LAYERS as LAYERS_SCHEMA
from pipeline.store.schemas import TOP as TOP_SCHEMA
from tests.fixtures.renders import rendered
from tests.fixtures.small_index import LAYERS, PREPROCESS, SHAPES, TOP, build_index
from tests.fixtures.tables import rewrite
from viz.render.table import merge_renders

_TOP_COLUMNS = [column.name for column in load_query("top_images").columns]

TABLES = {**SCHEMAS, "renders": RENDERS, "thumbnails": THUMBNAILS}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_index(tmp_path_factory.mktemp("small"))


@pytest.fixture
def index(out: Path) -> Iterator[Index]:
    with open_index(out) as index:
        yield index


def test_every_table_is_a_view_with_its_columns(index: Index, out: Path) -> None:
    for name, schema in SCHEMAS.items():
        result = index.sql(f"SELECT * FROM {name}")
        assert list(result.columns) == schema.names
        assert len(result.rows) == pq.read_metadata(out / f"{name}.parquet").num_rows


def test_missing_tables_are_empty_views_with_the_right_columns_and_types(out: Path, tmp_path: Path) -> None:
    with open_index(out) as index:
        whole = {name: index.sql(f"DESCRIBE {name}").rows for name in SCHEMAS}
    copy = shutil.copytree(out, tmp_path / "copy")
    for name in ("strata", "classes", "histograms", "errors"):
        (copy / f"{name}.parquet").unlink()
    with open_index(out) as index, duckdb.connect() as connection:
        create_views(connection, copy, index.preprocess)
        for name in SCHEMAS:
            described = connection.execute(f"DESCRIBE {name}").fetchall()
            assert [row[:2] for row in described] == [row[:2] for row in whole[name]]
        assert connection.execute("SELECT * FROM strata").fetchall() == []
        assert index.sql("SELECT * FROM renders").columns == tuple(RENDERS.names)


@pytest.mark.parametrize("table", sorted(SCHEMAS.keys() - LATER_TABLES))
def test_a_lost_table_is_not_an_empty_one(out: Path, tmp_path: Path, table: str) -> None:
    copy = shutil.copytree(out, tmp_path / "copy")
    (copy / f"{table}.parquet").unlink()
    with pytest.raises(
        DamagedFile, match=rf"{table}\.parquet is missing; `maxact repair .*copy` rebuilds it"
    ):
        open_index(copy)


def test_the_empty_view_of_renders_is_like_the_table_of_renderings(index: Index, tmp_path: Path) -> None:
    pq.write_table(RENDERS.empty_table(), tmp_path / "renders.parquet")
    with duckdb.connect() as connection:
        written = connection.execute(f"DESCRIBE FROM '{tmp_path / 'renders.parquet'}'").fetchall()
    described = index.sql("DESCRIBE renders").rows
    assert [row[:2] for row in described] == [row[:2] for row in written]


def test_renderings_that_are_made_after_the_opening_are_seen(tmp_path: Path, out: Path) -> None:
    copy = shutil.copytree(out, tmp_path / "copy")
    with open_index(copy) as index:
        assert index.sql("SELECT count(*) FROM renders").rows == [(0,)]
        merge_renders(copy, [rendered(1.5), rendered(2.0, unit=4)])
        assert index.sql("SELECT unit FROM renders ORDER BY unit").rows == [(3,), (4,)]
        assert len(index.query("synthetic_vs_real").rows) == 2
        merge_renders(copy, [rendered(3.0, unit=5)])
        assert index.first_rows("SELECT unit FROM renders ORDER BY unit", 2, {})[1]


@pytest.mark.parametrize(
    ("table", "column"),
    [(table, column) for table, schema in TABLES.items() for column in schema.names],
)
def test_every_documented_column_can_be_selected_before_anything_is_rendered(
    index: Index, table: str, column: str
) -> None:
    """`tests/test_docs.py` compares the documents' columns with these schemas."""
    assert not (index.out / "renders.parquet").exists()
    assert index.sql(f'SELECT "{column}" FROM {table}').columns == (column,)


def test_patches_agree_with_preprocess(index: Index) -> None:
    for name in (layer[0] for layer in LAYERS):
        for unit in range(index.unit_count(name)):
            for image in index.top(name, unit, n=TOP):
                seen = index.layer(name).box(image.y, image.x)
                expected = index.preprocess.seen_in_original(seen, image.width, image.height)
                assert image.box == expected


sizes = st.integers(1, 3000)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    images=st.lists(st.tuples(sizes, sizes), min_size=1, max_size=5),
    height=st.integers(8, 300),
    width=st.integers(8, 300),
    more=st.integers(0, 60),
    fit=st.sampled_from(get_args(Fit)),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    field=st.integers(1, 500),
    stride=st.integers(0, 40),
    start=st.integers(-200, 10),
)
def test_sql_and_python_carry_a_box_back_alike(
    tmp_path_factory: pytest.TempPathFactory,
    images: list[tuple[int, int]],
    height: int,
    width: int,
    more: int,
    fit: str,
    interpolation: str,
    field: int,
    stride: int,
    start: int,
) -> None:
    out = tmp_path_factory.mktemp("geometry")
    preprocess = Preprocess(
        height,
        width,
        max(height, width) + more,
        interpolation=interpolation,  # type: ignore[arg-type]
        fit=fit,  # type: ignore[arg-type]
    )
    layer = dict.fromkeys(LAYERS_SCHEMA.names, 1) | {"layer": "a", "kind": "map"}
    layer |= {"positions": "grid", "position_order": None}
    layer |= {"rf_h": field, "rf_w": field + 3, "stride_y": stride, "stride_x": stride + 1}
    layer |= {"start_y": start, "start_x": start - 1}
    places = [(i * 3 % 5, i * 7 % 4) for i in range(len(images))]
    _write(out, "layers", [layer])
    _write(
        out,
        "images",
        [
            dict.fromkeys(IMAGES.names) | {"image_id": i, "key": "k", "width": w, "height": h}
            for i, (w, h) in enumerate(images)
        ],
    )
    blank = dict.fromkeys(TOP_SCHEMA.names) | {"layer": "a", "unit": 0, "side": "high"}
    _write(
        out,
        "top",
        [blank | {"rank": i + 1, "image_id": i, "y": y, "x": x} for i, (y, x) in enumerate(places)],
    )
    with duckdb.connect() as connection:
        create_views(connection, out, preprocess)
        found = connection.execute(
            "SELECT box_left, box_top, box_right, box_bottom FROM patches ORDER BY rank"
        ).fetchall()
    for (y, x), (w, h), edges in zip(places, images, found, strict=True):
        top, left = start + y * stride, start - 1 + x * (stride + 1)
        seen = Box(left, top, left + field + 3, top + field)
        assert Box(*edges) == preprocess.seen_in_original(seen, w, h)


def _write(out: Path, name: str, rows: list[dict[str, object]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMAS[name]), out / f"{name}.parquet")


def test_top_is_ordered_and_limited(index: Index) -> None:
    images = index.top("blocks.1", 3, n=5)
    assert [image.rank for image in images] == [1, 2, 3, 4, 5]
    assert all(a.activation >= b.activation for a, b in itertools.pairwise(images))
    assert images[0].label == SHAPES[3]
    low = index.top("blocks.1", 3, n=5, side="low")
    assert all(a.activation <= b.activation for a, b in itertools.pairwise(low))
    assert low[0].activation < images[-1].activation


def test_tops_equals_top_unit_by_unit(index: Index) -> None:
    several = index.tops("head", [4, 0], n=3)
    assert several == {unit: index.top("head", unit, n=3) for unit in (4, 0)}


def test_layers_are_rebuilt_in_forward_order(index: Index) -> None:
    assert [layer.name for layer in index.layers] == ["stem", "blocks.1", "head"]
    assert index.layer("blocks.1").box(1, 2) == Box(20, 4, 59, 43)
    assert index.preprocess == Preprocess(**{**PREPROCESS, "mean": (127.0,) * 3, "std": (128.0,) * 3})


def test_class_names_belong_to_the_classifier_only(index: Index) -> None:
    assert index.class_names("head") == SHAPES
    assert index.class_names("stem") is None
    assert index.unit("head", "rings").number == 3
    assert index.units("head", "0-1,rings") == (0, 1, 3)


def test_images_come_back_by_offset(index: Index, out: Path) -> None:
    image = index.top("head", 0, n=1)[0]
    file = out.parent / "photographs" / image.key
    assert index.image_bytes(image.image_id) == file.read_bytes()
    numbers = [row[0] for row in index.sql("SELECT image_id FROM images LIMIT 5").rows]
    assert [number for number, _ in index.iterate_bytes(reversed(numbers))] == sorted(numbers)


def test_copies_of_a_photograph_have_one_number(index: Index) -> None:
    rows = index.sql("SELECT image_id, duplicate_of FROM images WHERE duplicate_of IS NOT NULL")
    assert len(rows.rows) == 1
    both = [image for image in index.top("head", 0, n=TOP) if image.photograph == rows.rows[0][1]]
    assert len(both) == 2


def test_values_are_bound_never_pasted(index: Index) -> None:
    hostile = "x'; DROP VIEW top; --"
    with pytest.raises(LayerError, match="has no layer"):
        index.query("top_images", layer=hostile, unit=0)
    assert index.sql("SELECT count(*) FROM images WHERE key = $key", key=hostile).rows == [(0,)]
    assert index.sql("SELECT count(*) > 0 FROM top").rows == [(True,)]


@pytest.mark.parametrize(
    ("name", "values", "error", "words"),
    [
        ("top_image", {}, QueryError, "no query is called 'top_image'; did you mean 'top_images'"),
        ("top_images", {"layer": "stem"}, UsageError, "needs unit; add unit=..."),
        ("top_images", {"layer": "stem", "unit": 0, "m": 3}, UsageError, "no parameter 'm'"),
        ("top_images", {"layer": "stem", "unit": "x"}, UsageError, "an integer of at least 0"),
        ("top_images", {"layer": "stem", "unit": 6}, UsageError, "stem has 6 units, numbered 0-5"),
        ("top_images", {"layer": "stem", "unit": -1}, UsageError, "an integer of at least 0"),
        ("top_images", {"layer": "block.1", "unit": 1}, LayerError, "did you mean 'blocks.1'"),
        ("top_images", {"layer": "stem", "unit": 1, "n": 0}, UsageError, "integer of at least 1"),
        ("top_images", {"layer": "stem", "unit": 1, "n": "1.5"}, UsageError, "at least 1"),
        ("top_images", {"layer": "stem", "unit": 1, "side": "up"}, UsageError, "high or low"),
        ("dead_units", {"at_most": 2}, UsageError, "a number from 0 to 1"),
        ("dead_units", {"at_most": "nan"}, UsageError, "a number from 0 to 1"),
        ("label_units", {"label": "rigns"}, UsageError, "did you mean 'rings'"),
        ("label_units", {"label": "  "}, UsageError, "a label of the dataset"),
    ],
)
def test_bad_parameters_are_refused_by_name(
    index: Index, name: str, values: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words.replace("(", r"\(")):
        index.query(name, **values)


def test_sql_that_does_not_run_says_why_in_one_line(index: Index) -> None:
    with pytest.raises(QueryError, match='column "lable" not found') as caught:
        index.sql("SELECT lable FROM images")
    assert "label" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_results_outlive_later_queries(index: Index) -> None:
    first = index.sql("SELECT unit FROM units ORDER BY unit")
    index.sql("SELECT 1")
    assert len(first.rows) == 24
    assert first.dicts()[0] == {"unit": 0}


def test_compare_needs_one_dataset(index: Index, tmp_path: Path, out: Path) -> None:
    data = out.parent / "photographs"
    (tmp_path / "b").mkdir()
    other = build_index(tmp_path / "b", seed=5, data=data)
    values = {"layer": "head", "other_layer": "head"}
    rows = index.query("compare", other=str(other), **values).dicts()
    assert [row["unit"] for row in rows if row["best"] == row["unit"]] == [row["unit"] for row in rows]
    itself = index.query("compare", other=str(out), **values).dicts()
    assert {(row["jaccard"], row["change"]) for row in itself} == {(1.0, 0.0)}
    assert all(row["label"] == row["other_label"] for row in itself)
    (data / "disc" / "zz.jpg").write_bytes((data / "disc" / "disc-02.jpg").read_bytes())
    try:
        (tmp_path / "c").mkdir()
        strange = build_index(tmp_path / "c", data=data)
    finally:
        (data / "disc" / "zz.jpg").unlink()
    with pytest.raises(StoreError, match="indexes of different datasets"):
        index.query("compare", other=str(strange), **values)


def _listed(index: Index, layer: str) -> dict[int, set[int]]:
    """The images on each unit's list."""
    return {unit: {image.image_id for image in found} for unit, found in index.tops(layer, n=TOP).items()}


def test_compare_begins_with_the_units_that_changed_most(index: Index, tmp_path: Path, out: Path) -> None:
    other = build_index(tmp_path, seed=5, data=out.parent / "photographs")
    with open_index(other) as opened:
        theirs = _listed(opened, "stem")
        labels = {unit: opened.unit("head", unit).statistics["majority_label"] for unit in range(6)}
    ours = _listed(index, "blocks.1")
    rows = index.query("compare", other=str(other), layer="blocks.1", other_layer="stem").dicts()
    assert [row["unit"] for row in rows][-1] == 11  # never active: on no list
    assert (rows[-1]["best"], rows[-1]["jaccard"], rows[-1]["change"]) == (None, None, None)
    assert sorted(row["unit"] for row in rows) == list(range(12))
    for row in rows[:-1]:
        mine = ours[row["unit"]]
        shared = {unit: len(mine & images) / len(mine | images) for unit, images in theirs.items() if images}
        assert row["jaccard"] == pytest.approx(max(shared.values()))
        assert row["same_unit"] == len(mine & theirs.get(row["unit"], set()))
    changes = [row["change"] for row in rows[:-1]]
    assert changes == sorted(changes, reverse=True)
    heads = index.query("compare", other=str(other), layer="head", other_layer="head").dicts()
    assert all(row["other_label"] == labels[row["best"]] for row in heads)


def test_units_without_an_image_in_common_are_compared_too(index: Index, tmp_path: Path, out: Path) -> None:
    other = shutil.copytree(out, tmp_path / "other")

    def keep_first(rows: list[dict[str, object]]) -> list[dict[str, object]]:
        return [row for row in rows if row["layer"] == "head" and row["rank"] == 1 and row["unit"] == 0]

    rewrite(other, "top", keep_first)
    rows = index.query("compare", other=str(other), layer="head", other_layer="head").dicts()
    alone = [row for row in rows if row["best"] is None]
    assert rows[: len(alone)] == alone
    found = {(row["shared"], row["jaccard"], row["change"], row["other_label"]) for row in alone}
    assert found == {(0, 0, 1, None)}
    assert 0 < len(alone) < 6


def test_a_folder_with_wildcards_in_its_name(out: Path, tmp_path: Path) -> None:
    odd = shutil.copytree(out, tmp_path / "a[b]*'c")
    with open_index(odd) as index:
        assert len(index.top("stem", 0, n=2)) == 2


def test_folders_that_hold_no_index(tmp_path: Path, out: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        open_index(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="holds no index"):
        open_index(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        open_index(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(StoreError, match="is not a file of maxact"):
        open_index(tmp_path)
    run = json.loads((out / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(run | {"status": "incomplete"}))
    with pytest.raises(StoreError, match="not finished"):
        open_index(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(run | {"schema_version": 99}))
    with pytest.raises(StoreError, match="schema version 99"):
        open_index(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(run | {"preprocess": {"height": 3}}))
    with pytest.raises(StoreError, match="preprocess has no width"):
        open_index(tmp_path)


def test_a_damaged_table_is_named(out: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(out, tmp_path / "copy")
    (copy / "top.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(StoreError, match=r"top\.parquet cannot be read"):
        open_index(copy)


def test_a_damaged_table_of_renderings_is_told_apart_from_a_damaged_index(tmp_path: Path, out: Path) -> None:
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    (copy / "renders.parquet").write_bytes(b"PAR1 not a table")
    with pytest.raises(StoreError, match=r"renders\.parquet cannot be read .* move it elsewhere and render"):
        open_index(copy)


def test_the_units_of_a_label_are_those_that_like_it(index: Index) -> None:
    rows = index.query("label_units", label="bars", layer="blocks.1", n=2).dicts()
    assert {row["unit"] % 6 for row in rows} == {2}
    assert all(np.isclose(row["lift"], row["share"] * 6) for row in rows)


def test_dead_units_are_found(index: Index) -> None:
    rows = index.query("dead_units").dicts()
    assert [(row["layer"], row["unit"], row["reason"]) for row in rows] == [
        ("stem", 5, "constant"),
        ("blocks.1", 11, "constant"),
    ]


def test_layer_histogram_counts_every_image(index: Index) -> None:
    rows = index.query("layer_histogram", layer="head", unit=1).dicts()
    assert sum(row["images"] for row in rows) == 48
    assert rows[-1]["cumulative"] == 1.0
    whole = index.query("layer_histogram", layer="head").dicts()
    assert sum(row["images"] for row in whole) == 48 * 6


def test_hub_and_shared_images_against_plain_counting(index: Index) -> None:
    rows = index.sql("SELECT layer, unit, image_id FROM top WHERE side = 'high'").rows
    lists: dict[tuple[str, int], set[int]] = {}
    for layer, unit, image_id in rows:
        lists.setdefault((layer, unit), set()).add(image_id)
    hubs = index.query("hub_images", n=3).dicts()
    counts = {i: sum(i in images for images in lists.values()) for i in range(48)}
    assert [hub["units"] for hub in hubs] == sorted(counts.values(), reverse=True)[:3]
    for pair in index.query("shared_images", layer="blocks.1", at_least=1, n=1000).dicts():
        a, b = lists["blocks.1", pair["unit"]], lists["blocks.1", pair["other"]]
        assert pair["shared"] == len(a & b)
        assert pair["jaccard"] == pytest.approx(len(a & b) / len(a | b))


def test_a_result_as_a_relation_and_in_a_notebook(index: Index) -> None:
    result = index.sql("SELECT layer, unit, 0.123456789 AS x, NULL AS n FROM units ORDER BY layer, unit")
    relation = result.relation().filter("unit = 3").project("layer")
    assert sorted(relation.fetchall()) == [("blocks.1",), ("head",), ("stem",)]
    shown = index.sql("SELECT '<b>' AS \"a&b\", 0.123456789::DOUBLE AS x, NULL AS n")._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "a&amp;b" in shown
    assert "<td>0.12346</td><td>-</td>" in shown
    long = index.sql("SELECT unnest(range(250)) AS n")._repr_html_()
    assert "<p>150 more rows</p>" in long
    assert long.count("<tr>") == 101


def test_a_result_as_a_frame_of_polars(index: Index) -> None:
    polars = pytest.importorskip("polars")
    frame = index.sql("SELECT layer, units FROM layers ORDER BY ordinal").pl()
    assert isinstance(frame, polars.DataFrame)
    assert frame.rows() == [("stem", 6), ("blocks.1", 12), ("head", 6)]


def test_a_box_is_what_pillow_crops(index: Index) -> None:
    (best, *_) = index.top("blocks.1", 3)
    assert tuple(best.box) == (best.box.left, best.box.top, best.box.right, best.box.bottom)


def test_many_units_at_once_are_as_one_by_one(index: Index) -> None:
    assert index.tops("blocks.1", range(12), n=3) == {
        unit: index.top("blocks.1", unit, n=3) for unit in range(12)
    }


def test_the_units_of_an_image(index: Index) -> None:
    rows = index.query("image_units", image=3, n=100).dicts()
    everywhere = index.sql("SELECT layer, unit, rank FROM top WHERE image_id = 3 AND side = 'high'").rows
    assert {(row["layer"], row["unit"], row["rank"]) for row in rows} == {*everywhere}
    assert [row["rank"] for row in rows] == sorted(row["rank"] for row in rows)


def test_hub_images_count_layers_and_share_as_plain_counting_does(index: Index) -> None:
    rows = index.sql("SELECT layer, unit, image_id, rank FROM top WHERE side = 'high'").rows
    units = {(layer, unit) for layer, unit, _, _ in rows}
    for hub in index.query("hub_images", n=48).dicts():
        mine = [row for row in rows if row[2] == hub["image_id"]]
        assert hub["units"] == len(mine)
        assert hub["share"] == pytest.approx(len(mine) / len(units))
        assert hub["layers"] == len({layer for layer, *_ in mine})
        assert hub["first"] == sum(rank == 1 for *_, rank in mine)


def test_units_that_are_not_neighbours_come_back_alone(index: Index) -> None:
    several = index.tops("blocks.1", [7, 2], n=3)
    assert several == {unit: index.top("blocks.1", unit, n=3) for unit in (7, 2)}
    assert index.tops("blocks.1", [], n=3) == {}


def test_a_result_as_an_arrow_table(index: Index) -> None:
    result = index.query("top_images", layer="head", unit=1, n=3)
    table = result.arrow()
    assert tuple(table.column_names) == result.columns
    assert table.to_pylist() == result.dicts()
    assert table.schema.field("activation").type == pa.float32()
    empty = index.sql("SELECT layer, unit, activation FROM top WHERE unit = 999").arrow()
    assert [str(kind) for kind in empty.schema.types] == ["string", "int32", "float"]
    assert empty.num_rows == 0


def test_types_that_arrow_has_otherwise(index: Index) -> None:
    odd = (
        "SELECT sum(x) AS s, (1::HUGEINT << 100) AS big, 1.50::DECIMAL(9, 2) AS d, "
        "'00000000-0000-0000-0000-000000000001'::UUID AS u, [1, NULL] AS l, {'a': 'b'} AS st, "
        "DATE '2026-01-02' AS day, NULL AS n, true AS yes FROM (VALUES (1), (2)) AS v (x)"
    )
    table = index.sql(odd).arrow()
    (row,) = table.to_pylist()
    assert (row["s"], table.schema.field("s").type) == (3, pa.int64())
    assert (row["big"], row["l"], row["st"], row["n"], row["yes"]) == (
        1 << 100,
        [1, None],
        {"a": "b"},
        None,
        True,
    )
    assert (str(row["d"]), row["u"], str(row["day"])) == (
        "1.50",
        f"{'0' * 8}-0000-0000-0000-{'0' * 11}1",
        "2026-01-02",
    )
    twice = index.sql("SELECT 1 AS a, 2 AS a").arrow()
    assert (twice.column_names, twice.column(1).to_pylist()) == (["a", "a"], [2])


def test_a_result_as_a_data_frame(index: Index) -> None:
    import pandas

    result = index.query("dead_units")
    frame = result.df()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.to_dict("records") == result.dicts()


def test_a_missing_pandas_is_named(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(QueryError, match="df\\(\\) needs pandas, which is not installed; run `pip install"):
        index.sql("SELECT 1").df()


def _first_predictions(index: Index) -> list[dict[str, object]]:
    text = "SELECT * FROM predictions JOIN images USING (image_id) WHERE rank = 1"
    return index.sql(text).dicts()


def test_misclassified_images_are_those_of_another_class(index: Index) -> None:
    first = _first_predictions(index)
    wrong = {row["key"]: row["name"] for row in first if row["name"] != row["label"]}
    found = index.query("misclassified").dicts()
    assert {row["key"]: row["predicted"] for row in found} == wrong
    assert 0 < len(wrong) < len(first)
    certain = [row["probability"] for row in found]
    assert certain == sorted(certain, reverse=True)
    for row in found:
        ranked = [
            other["name"]
            for other in index.sql(
                "SELECT name FROM predictions WHERE image_id = $id ORDER BY rank", id=row["image_id"]
            ).dicts()
        ]
        wanted = ranked.index(row["label"]) + 1 if row["label"] in ranked else None
        assert row["label_rank"] == wanted
        assert (row["label_probability"] is None) == (wanted is None)
    one = found[0]
    same = index.query("misclassified", label=one["label"], predicted=one["predicted"]).dicts()
    assert same == [
        row for row in found if (row["label"], row["predicted"]) == (one["label"], one["predicted"])
    ]


def test_confusions_count_the_misclassified(index: Index) -> None:
    wrong = [row for row in _first_predictions(index) if row["name"] != row["label"]]
    found = index.query("confusions").dicts()
    assert {(row["label"], row["predicted"]): row["images"] for row in found} == Counter(
        (row["label"], row["name"]) for row in wrong
    )
    assert all(row["share"] == pytest.approx(row["images"] / 8) for row in found)
    assert sum(row["images"] for row in index.query("confusions", label="disc").dicts()) == sum(
        row["label"] == "disc" for row in wrong
    )


def test_lists_by_number_are_those_of_a_join(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few images are looked up by number, many joined; both are what the view `patches` has."""
    text = "SELECT * FROM patches WHERE layer = $layer AND unit = $unit AND side = $side ORDER BY rank"
    found = {}
    for few in (0, 10_000):
        monkeypatch.setattr("pipeline.query.top_lists._FEW_IMAGES", few)
        for side in get_args(Side):
            for name in (layer[0] for layer in LAYERS):
                found[few, name, side] = index.tops(name, n=TOP, side=side)
                for unit, images in found[few, name, side].items():
                    rows = index.sql(text, layer=name, unit=unit, side=side).dicts()
                    wanted = [tuple(row[each] for each in _TOP_COLUMNS) for row in rows]
                    assert [image.row for image in images] == wanted
    assert {key[1:]: value for key, value in found.items() if not key[0]} == {
        key[1:]: value for key, value in found.items() if key[0]
    }


def test_a_preprocessing_that_is_none_is_named(tmp_path: Path) -> None:
    for preprocess in ({}, {"mean": 3}, {"mean": [1.0], "std": [1.0], "strange": 1}):
        with pytest.raises(StoreError, match=r"run\.json: its `preprocess` cannot be used: "):
            read_preprocess({"preprocess": preprocess}, tmp_path)


def test_without_polars_its_frame_says_what_to_install(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    found = index.sql("SELECT 1 AS one")
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(
        QueryError, match=r"pl\(\) needs polars, which is not installed; run `pip install polars`"
    ):
        found.pl()
