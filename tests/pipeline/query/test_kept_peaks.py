"""Questions about the peaks of all images, against NumPy on the whole matrix, and without them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.choices import Likeness
from pipeline.errors import MaxactError, QueryError, StoreError, UsageError
from pipeline.query import conditions, peak_queries
from pipeline.query.index import Index, open_index
from pipeline.query.peak_queries import best_rows
from pipeline.query.safe import Limits
from pipeline.query.similarity import match_images
from pipeline.runs.run import run_index
from tests.fixtures.commands import done, refused, run
from tests.fixtures.runs import config
from tests.fixtures.small_index import LAYERS, TOP, build_index
from tests.fixtures.tables import rewrite
from tests.fixtures.tiny import tiny_network, write_tars


@pytest.fixture(scope="module")
def outs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An index with peaks, and the same without."""
    folders = [tmp_path_factory.mktemp(name) for name in ("with", "without")]
    first = build_index(folders[0], keep_peaks=True)
    return first, build_index(folders[1], data=folders[0] / "photographs")


@pytest.fixture(scope="module")
def index(outs: tuple[Path, Path]) -> Iterator[Index]:
    with open_index(outs[0]) as index:
        yield index


@pytest.fixture(scope="module")
def without(outs: tuple[Path, Path]) -> Iterator[Index]:
    with open_index(outs[1]) as index:
        yield index


def images(index: Index) -> list[dict[str, Any]]:
    return index.sql("SELECT * FROM images ORDER BY image_id").dicts()


def test_peaks_come_by_unit_by_image_and_by_number(index: Index) -> None:
    listed = index.sql("SELECT image_id, unit, activation FROM top WHERE layer = 'blocks.1'").rows
    peaks, ids = index.activations("blocks.1"), index.peaks.image_ids.tolist()
    assert peaks.shape == (48, 12)
    assert all(peaks[ids.index(image), unit] == value for image, unit, value in listed)
    chosen = [ids[5], ids[2], ids[5]]
    np.testing.assert_array_equal(index.activations("blocks.1", "3,1", chosen), peaks[[5, 2, 5]][:, [3, 1]])
    np.testing.assert_array_equal(index.activations("blocks.1", images=ids[3:5]), peaks[3:5])


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("SELECT count(*) FROM peaks", 48 * sum(layer[3] for layer in LAYERS)),
        ("SELECT count(*) FROM peaks WHERE layer = 'head' AND unit > 3", 48 * 2),
        ("SELECT count(peak('head', 2, image_id)) FROM images", 48),
        ("SELECT count(peak('head', 6, image_id)) FROM images", 0),
        ("SELECT count(peak('nowhere', 0, image_id)) FROM images", 0),
        ("SELECT count(peak('head', 0, image_id + 1000)) FROM images", 0),
        ("SELECT count(peak(NULL, 0, 0)) + count(peak('head', NULL, 0)) + count(peak('head', 0, NULL))", 0),
        ("SELECT count(*) FROM peaks JOIN top USING (layer, unit, image_id) WHERE peak = activation", None),
    ],
)
def test_sql_sees_every_peak_once(index: Index, text: str, rows: int | None) -> None:
    ((found,),) = index.sql(text).rows
    assert found == (index.sql("SELECT count(*) FROM top").rows[0][0] if rows is None else rows)


def test_a_confined_query_sees_them_too(outs: tuple[Path, Path], index: Index) -> None:
    text = "SELECT image_id, peak FROM peaks WHERE layer = 'stem' AND unit = 1 ORDER BY peak DESC LIMIT 5"
    with open_index(outs[0], limits=Limits()) as confined:
        assert confined.sql(text) == index.sql(text)


def brute(index: Index, scores: np.ndarray[Any, Any], keep: Any, n: int) -> list[int]:
    rows = [row for row, image in enumerate(images(index)) if keep(image, row)]
    return [int(index.peaks.image_ids[row]) for row in sorted(rows, key=lambda row: (-scores[row], row))[:n]]


@pytest.mark.parametrize("n", [1, 7, 48])
@pytest.mark.parametrize("side", ["high", "low"])
def test_top_without_a_label_is_refilled(index: Index, n: int, side: Any) -> None:
    peaks = index.activations("blocks.1", [3])[:, 0] * (1 if side == "high" else -1)
    found = index.top("blocks.1", 3, n=n, side=side, without_label="rings")
    least = peaks.min()
    wanted = brute(index, peaks, lambda image, row: image["label"] != "rings" and peaks[row] > least, n)
    assert [image.image_id for image in found] == wanted
    assert [image.rank for image in found] == list(range(1, len(found) + 1))
    records = {image["image_id"]: image for image in images(index)}
    for image in found:
        record = records[image.image_id]
        named = (record["key"], record["label"], record["width"], record["height"])
        assert (image.key, image.label, image.width, image.height) == named


@pytest.mark.parametrize("first", [1, 2, 256])
def test_top_where_is_that_of_all_images(index: Index, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    monkeypatch.setattr(peak_queries, "_FIRST_TESTED", first)
    monkeypatch.setattr(conditions, "_FEW_IMAGES", 20)
    peaks = index.activations("stem", [2])[:, 0]
    found = index.top("stem", 2, n=2, where="width > 150 AND label <> 'disc' -- and so on")
    keep = lambda image, row: image["width"] > 150 and image["label"] != "disc" and row >= 0  # noqa: E731
    assert [image.image_id for image in found] == brute(index, peaks, keep, 2)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-3, 3), max_size=12), st.integers(0, 14))
def test_the_best_rows_are_those_of_a_sort(values: list[int], n: int) -> None:
    scores = np.array(values, np.float32)
    rows = np.arange(0, len(values), 2)
    wanted = sorted(rows.tolist(), key=lambda row: (-values[row], row))[:n]
    assert best_rows(scores, rows, n).tolist() == wanted


def test_without_peaks_the_list_answers_as_far_as_it_goes(without: Index, index: Index) -> None:
    listed = without.top("blocks.1", 3, n=TOP)
    found = without.top("blocks.1", 3, n=9, without_label=listed[0].label)
    assert [i.image_id for i in found] == [i.image_id for i in listed if i.label != listed[0].label][:9]
    assert len(found) < len(index.top("blocks.1", 3, n=9, without_label=listed[0].label)) == 9
    assert len(without.top("blocks.1", 3, n=40)) == TOP


def test_a_weighted_sum_is_that_of_the_peaks(index: Index) -> None:
    weights = {("stem", 1): 1.0, ("blocks.1", 7): -0.5, ("head", 0): 2}
    total = sum(
        weight * index.activations(layer, [unit])[:, 0].astype(np.float64)
        for (layer, unit), weight in weights.items()
    )
    found = index.top_of_sum(weights, n=6, where="height < 150")
    assert found.columns == ("rank", "sum", "key", "label", "image_id")
    assert [row[4] for row in found.rows] == brute(index, total, lambda i, _: i["height"] < 150, 6)
    lowest = index.top_of_sum(weights, n=1, side="low").rows[0]
    assert lowest[1] == pytest.approx(float(np.min(total)))


@pytest.mark.parametrize("by", ["correlation", "cosine"])
def test_similarities_are_numpys(index: Index, by: Likeness) -> None:
    ours, theirs = (index.activations(name).astype(np.float64) for name in ("blocks.1", "stem"))
    if by == "correlation":
        with np.errstate(invalid="ignore"):
            wanted = np.corrcoef(ours.T, theirs.T)[:12, 12:]
    else:
        norms = [np.linalg.norm(each, axis=0) for each in (ours, theirs)]
        with np.errstate(invalid="ignore"):
            wanted = ours.T @ theirs / np.outer(*norms)
    found = index.similarity("blocks.1", other_layer="stem", by=by)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert np.isnan(found[:, -1]).all(), "the last unit of a map is never active"
    some = index.similarity("blocks.1", [5, 2], "stem", "1-3", by=by)
    np.testing.assert_allclose(some, found[[5, 2]][:, 1:4], atol=1e-14)


def test_nearest_units_are_sorted_and_leave_out_the_unit(index: Index) -> None:
    alike = index.similarity("blocks.1")
    found = index.nearest_units("blocks.1", 3, n=50)
    assert [row[2] for row in found.rows] == [
        int(unit) for unit in np.argsort(-alike[3], kind="stable") if unit not in (3, 11)
    ]
    everywhere = index.nearest_units("blocks.1", 3, "*", n=4)
    assert [row[3] for row in everywhere.rows] == sorted((row[3] for row in everywhere.rows), reverse=True)
    assert everywhere.rows[0][3] >= found.rows[0][3]
    assert index.nearest_units("blocks.1", 0, n=50).rows[0][4] in (None, "disc, round shape", "disc")


def test_two_networks_are_matched_by_the_names_of_images(tmp_path: Path) -> None:
    """The second index has the same images in other shards, and so in another order."""
    small = write_tars(tmp_path / "a", [5, 6, 1])
    (tmp_path / "b").mkdir()
    large = [shutil.copyfile(path, tmp_path / "b" / f"{'zyx'[n]}.tar") for n, path in enumerate(small)]
    for name, data, seed in (("x", small, 0), ("y", large, 3), ("z", small[:2], 3)):
        asked = config(data, tmp_path / name, keep="peaks=float32", layers=("first", "head"))
        run_index(asked, network=tiny_network(seed))
    with open_index(tmp_path / "x") as first, open_index(tmp_path / "y") as second:
        ours = dict(zip(_keys(first), first.activations("first"), strict=True))
        theirs = dict(zip(_keys(second), second.activations("head"), strict=True))
        joined = np.array([np.concatenate([ours[key], theirs[key]]) for key in ours], np.float64)
        with np.errstate(invalid="ignore"):
            wanted = np.corrcoef(joined.T)[:5, 5:]
        assert _keys(first) != _keys(second)
        np.testing.assert_allclose(
            first.similarity("first", other_layer="head", other=second), wanted, atol=1e-12
        )
        nearest = first.nearest_units("first", 2, other=second, n=3)
        assert {row[1] for row in nearest.rows} <= {"first", "head"}
    with open_index(tmp_path / "x") as first, open_index(tmp_path / "z") as fewer:
        with pytest.raises(
            StoreError, match=r"z lacks 1 of the images of .*x, such as '00011'; only indexes"
        ):
            first.nearest_units("first", 2, other=fewer)
        with pytest.raises(StoreError, match=r"z lacks 1 of the images of .*x, such as '00011'"):
            fewer.nearest_units("first", 2, other=first)


def _keys(index: Index) -> list[str]:
    return [row[0] for row in index.sql("SELECT key FROM images ORDER BY image_id").rows]


def test_images_are_matched_or_refused() -> None:
    assert match_images(["a", "a"], ["a", "a"], ("x", "y")) is None
    assert match_images(["a", "b", "c"], ["c", "a", "b"], ("x", "y")).tolist() == [1, 2, 0]  # type: ignore[union-attr]
    with pytest.raises(StoreError, match="y has several images called 'a'"):
        match_images(["a", "b"], ["a", "a"], ("x", "y"))


def test_a_profile_is_a_row_of_the_matrix(index: Index) -> None:
    image = int(index.peaks.image_ids[7])
    rows = index.query("image_profile", image=image, layer="blocks.1", n=99).dicts()
    peaks = index.activations("blocks.1", images=[image])[0]
    assert {row["unit"]: row["peak"] for row in rows} == dict(enumerate(peaks.tolist()))
    deviations = [row["deviations"] for row in rows if row["deviations"] is not None]
    assert deviations == sorted(deviations, reverse=True)
    whole = index.activations("blocks.1")
    for row in rows:
        below = (whole[:, row["unit"]] < row["peak"]).mean()
        assert row["share"] <= below + 1e-9, "buckets below that of the peak"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("nearest", "stem", "1"), "keeps the peaks of listed images only; index again with --keep peaks"),
        (("sum", "stem:1=1"), "keeps the peaks of listed images only"),
        (("query", "image_profile", "image=3"), "query image_profile needs the peaks of all images"),
        (("sql", "SELECT count(*) FROM peaks"), "index again with --keep peaks"),
        (("sql", "SELECT peak('stem', 1, 0)"), "index again with --keep peaks"),
    ],
)
def test_without_peaks_a_command_says_what_to_do(
    outs: tuple[Path, Path], words: tuple[str, ...], text: str
) -> None:
    result = run(words[0], outs[1], *words[1:])
    assert text in refused(result, result.exit_code)
    assert result.exit_code in (1, 2)
    assert done(words[0], outs[0], *words[1:]).stdout


def test_top_says_how_far_the_list_goes(outs: tuple[Path, Path]) -> None:
    words = ("blocks.1", "3", "-n", "12", "--without-label", "rings", "--json")
    short = done("top", outs[1], *words)
    found = json.loads(short.stdout)
    assert f"{len(found)} of 12: the list of 16 holds no more; index again with --keep peaks" in short.stderr
    assert len(json.loads(done("top", outs[0], *words).stdout)) == 12
    assert found == [{**row} for row in json.loads(done("top", outs[0], *words).stdout)][: len(found)]
    assert "no image labelled 'ring'; did you mean 'rings'?" in refused(
        run("top", outs[0], "blocks.1", "3", "--without-label", "ring"), 2
    )
    assert "error: " in refused(run("top", outs[0], "blocks.1", "3", "--where", "colour = 1"), 2)


@pytest.mark.parametrize(
    "term", ["stem", "stem:1", "stem=1", "stem:1=much", ":1=2", "stem:=2", "stem:99=1", "no:1=2"]
)
def test_a_term_that_cannot_be_read_is_refused(outs: tuple[Path, Path], term: str) -> None:
    refused(run("sum", outs[0], term), 2)


def test_terms_of_one_unit_add_up_and_classes_have_names(outs: tuple[Path, Path]) -> None:
    once = done("sum", outs[0], "head:disc=3", "--csv").stdout
    assert once == done("sum", outs[0], "head:0=1", "head:disc=2", "--csv").stdout


@pytest.mark.parametrize(
    "weights", [{}, None, 3, {"stem": 1}, {("stem",): 1}, {("stem", 1): "x"}, {("stem", 1): float("nan")}]
)
def test_weights_that_are_none_are_refused(index: Index, weights: Any) -> None:
    with pytest.raises(MaxactError):
        index.top_of_sum(weights)


def test_what_is_no_likeness_or_condition_is_refused(index: Index) -> None:
    with pytest.raises(UsageError, match="correlation or cosine"):
        index.similarity("stem", by="taste")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="must be SQL"):
        index.top("stem", 1, where=3)  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="has no image with image_id 99"):
        index.activations("stem", images=[99])


def test_peaks_of_a_second_index(outs: tuple[Path, Path], tmp_path: Path) -> None:
    """Each schema has the peaks of its own index, and of the last one that was attached under its name."""
    made = []
    for seed in (5, 6):
        folder = tmp_path / str(seed)
        folder.mkdir()
        made.append(build_index(folder, seed=seed, data=outs[0].parent / "photographs", keep_peaks=True))
    second, third = made
    both = (
        "SELECT a.peak, b.peak FROM peaks a JOIN b.peaks b USING (layer, unit, image_id) WHERE layer = 'head'"
    )
    ordered = f"{both} ORDER BY image_id, unit"
    with open_index(outs[1]) as poor:
        poor.attach("rich", second)
        ((found,),) = poor.sql("SELECT sum(peak) FROM rich.peaks WHERE layer = 'head'").rows
    with open_index(outs[0]) as index:
        for other in (second, third):
            index.attach("b", other)
            with open_index(other) as opened:
                wanted = np.stack([index.activations("head"), opened.activations("head")], axis=-1)
            np.testing.assert_array_equal(index.sql(ordered).rows, wanted.reshape(-1, 2))
            if other == second:
                assert found == pytest.approx(float(wanted[..., 1].sum(dtype=np.float64)))
        ((value,),) = index.sql("SELECT b_peak('head', 1, image_id) FROM images LIMIT 1").rows
        assert value == wanted[0, 1, 1]
        index.attach("b", outs[1])
        with pytest.raises(QueryError, match="keeps the peaks of listed images only"):
            index.sql(ordered)
        for name in ("main", "a b", "", '"', "MAIN", "1"):
            with pytest.raises(UsageError, match="letters, digits and _"):
                index.attach(name, second)


def test_sql_with_a_second_index(outs: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = outs
    text = "SELECT count(*) AS n FROM units a JOIN b.units b USING (layer, unit) WHERE a.mean = b.mean"
    found = done("sql", first, text, "--with", f"b={second}", "--json")
    assert json.loads(found.stdout) == [{"n": sum(layer[3] for layer in LAYERS)}]
    for words in (
        ("--with", "b"),
        ("--with", f"main={second}"),
        ("--with", f"b={second}", "--with", f"b={first}"),
    ):
        refused(run("sql", first, text, *words), 2)
    refused(run("sql", first, text, "--with", f"b={tmp_path / 'nowhere'}"), 2)
    refused(run("sql", first, text, "--with", f"b={second}", "--safe"), 2)


@pytest.mark.parametrize("few", [1, 1 << 16])
def test_images_that_are_meant_are_found_however_low_they_are(
    index: Index, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(peak_queries, "_FIRST_TESTED", 1)
    monkeypatch.setattr(conditions, "_FEW_IMAGES", few)
    peaks = index.activations("stem", [2])[:, 0]
    order = np.argsort(-peaks, kind="stable")
    lowest = [row for row in order if peaks[row] > peaks.min()][-1]
    image_id = int(index.peaks.image_ids[lowest])
    label = next(image["label"] for image in images(index) if image["image_id"] != image_id)
    found = index.top("stem", 2, n=1, where=f"image_id = {image_id}")
    assert [image.image_id for image in found] == [image_id]
    among = conditions.Condition(where=f"image_id = {image_id}").among(index, index.peaks.image_ids)
    assert among.nonzero()[0].tolist() == [lowest]
    without_label = conditions.Condition(without_label=label).among(index, index.peaks.image_ids)
    assert without_label.tolist() == [image["label"] != label for image in images(index)]


def test_peaks_of_few_images_at_many_units_are_those_of_the_matrix(index: Index) -> None:
    """They are read by image there, and by unit where units are fewer."""
    peaks = index.activations("blocks.1")
    ids = index.peaks.image_ids.tolist()
    rows = index.sql(
        "SELECT unit, image_id, peak('blocks.1', unit, image_id) "
        "FROM (VALUES ($first), ($second)) t(image_id), (SELECT range::INTEGER AS unit FROM range(12)) "
        "WHERE (unit + image_id) % 5 > 0",
        first=ids[7],
        second=ids[30],
    ).rows
    assert len(rows) > 12
    for unit, image_id, peak in rows:
        assert peak == peaks[ids.index(image_id), unit]


def test_a_table_of_other_images_than_the_parts_is_refused(outs: tuple[Path, Path], tmp_path: Path) -> None:
    out = shutil.copytree(outs[0], tmp_path / "out")
    rewrite(out, "images", lambda rows: rows[:-1])
    with (
        open_index(out) as opened,
        pytest.raises(StoreError, match="has other images than the parts; run `maxact repair"),
    ):
        _ = opened.peaks.image_ids
    with open_index(outs[0]) as opened:
        peaks = opened.peaks
        peaks.out = tmp_path / "nowhere"
        with pytest.raises(StoreError, match=r"nowhere/images\.parquet cannot be read: "):
            _ = peaks.image_ids


def test_a_label_is_a_condition_of_its_own(index: Index) -> None:
    with pytest.raises(UsageError, match="has no image labelled 'nothing'"):
        index.top("stem", 2, n=1, without_label="nothing")
    assert conditions.Condition(without_label="disc")
    assert not conditions.Condition()
