"""Every field of run.json is checked by type and range when it is read."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import MaxactError, StoreError
from pipeline.query.index import open_index
from pipeline.store.run_record import COMMIT, LAYER, RUN, find_problem, refuse_invalid, refuse_invalid_run
from tests.fixtures.small_index import build_index

ODD = [None, -1, 1e308, "", "x", [], {}, True, "');-- '\"" * 40, float("nan"), 1 << 70, [[1]]]

DIGEST = "0123456789abcdef" * 4

COMPLETE: dict[str, Any] = {
    "schema_version": 1,
    "status": "complete",
    "fingerprint": DIGEST,
    "config": {
        "network": None,
        "weights": None,
        "top": 9,
        "score": "max",
        "precision": "fp32",
        "memory_format": "channels_last",
        "decoder": "pil",
        "classes": None,
        "data": ["photographs"],
        "out": "out",
        "input": [],
        "directions": [],
        "layers": ["first"],
        "kind": None,
        "batch_size": 32,
        "compile": "off",
        "device": "cpu",
        "workers": None,
        "threads": None,
        "shards_per_part": None,
        "max_bad_fraction": 0.01,
        "keep": ["peaks"],
        "fresh": False,
        "cache": None,
        "class_names": None,
        "shard_range": None,
    },
    "network": {"name": "tiny", "weights": "as given", "digest": DIGEST, "classes": ["disc"]},
    "preprocess": {
        "height": 224,
        "width": 224,
        "resize": 256,
        "interpolation": "bilinear",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "channels": "rgb",
        "fit": "crop",
    },
    "dataset": {"name": "photographs", "data": ["photographs"], "shards": 1},
    "counts": {"images": 3, "errors": 0, "units": 4, "layers": 1},
    "fields": {},
    "identity": {"dataset": "photographs"},
    "layers": [
        {
            "name": "first",
            "ordinal": 0,
            "kind": "map",
            "units": 4,
            "prefix": 0,
            "grid_h": 7,
            "grid_w": 7,
            "rf_h": 3,
            "rf_w": 3,
            "stride_y": 1,
            "stride_x": 1,
            "start_y": -1,
            "start_x": -1,
            "positions": None,
            "position_order": [1, 0],
        }
    ],
    "signature": DIGEST,
    "timings": {"seconds": 1.5},
    "versions": {},
    "tables": {"units": {"bytes": 9, "sha256": DIGEST, "tail": DIGEST}},
    "thumbnails": {"bytes": 9, "sha256": DIGEST, "tail": DIGEST},
    "parts": ["parts/0"],
    "sha256": DIGEST,
}
"""A run.json with all fields that are declared."""

RANGES = [
    ("schema_version", 0, 9007199254740992),
    ("config.top", 1, 1024),
    ("config.classes", 1, 1048576),
    ("config.batch_size", 1, 1024),
    ("config.workers", 1, 1048576),
    ("config.threads", 1, 1048576),
    ("config.shards_per_part", 1, 1048576),
    ("config.max_bad_fraction", 0, 1),
    ("preprocess.height", 1, 16384),
    ("preprocess.width", 1, 16384),
    ("preprocess.resize", 1, 65536),
    ("preprocess.mean.0", -9007199254740992, 9007199254740992),
    ("dataset.shards", 0, 9007199254740992),
    ("counts.images", 0, 9007199254740992),
    ("layers.0.ordinal", 0, 2147483647),
    ("layers.0.units", 1, 2147483647),
    ("layers.0.prefix", 0, 2147483647),
    ("layers.0.grid_h", 1, 16384),
    ("layers.0.grid_w", 1, 16384),
    ("layers.0.rf_h", 0, 2147483647),
    ("layers.0.rf_w", 0, 2147483647),
    ("layers.0.stride_y", 0, 2147483647),
    ("layers.0.stride_x", 0, 2147483647),
    ("layers.0.start_y", -2147483648, 2147483647),
    ("layers.0.start_x", -2147483648, 2147483647),
    ("layers.0.position_order.0", 0, 2147483647),
    ("timings.seconds", 0, 9007199254740992),
    ("tables.units.bytes", 0, 9007199254740992),
    ("thumbnails.bytes", 0, 9007199254740992),
]
"""Places of numbers in run.json, with the least and the greatest that each may be."""

LENGTHS = [
    ("preprocess.mean", 0.5, 1, 64),
    ("preprocess.std", 0.5, 1, 64),
    ("dataset.data", "photographs", 1, None),
    ("parts", "parts/0", 0, None),
    ("network.classes", "disc", 0, None),
]
"""Places of lists, an item, and the fewest and the most items that each may have."""


def with_value(content: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """A copy of a content with another value at a place, such as `layers.0.units`."""
    changed = copy.deepcopy(content)
    *path, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    parent: Any = changed
    for key in path:
        parent = parent[key]
    parent[last] = value
    return changed


def problem(place: str, value: Any) -> str | None:
    return find_problem(RUN, with_value(COMPLETE, place, value))


@pytest.mark.parametrize(("place", "least", "most"), RANGES)
def test_a_number_is_taken_up_to_its_limits_and_not_beyond(place: str, least: int, most: int) -> None:
    named = place.replace(".0", "[0]")
    for value in (least, most):
        assert problem(place, value) is None
    for value in (least - 1, most + 1, True, str(least), [least]):
        assert str(problem(place, value)).startswith(f"{named} must be ")


@pytest.mark.parametrize(("place", "item", "fewest", "most"), LENGTHS)
def test_a_list_is_taken_up_to_its_limits_and_not_beyond(
    place: str, item: Any, fewest: int, most: int | None
) -> None:
    assert problem(place, [item] * fewest) is None
    assert problem(place, (item,) * fewest) is None
    if fewest:
        least = f"{fewest} to {most}" if most else f"at least {fewest}"
        assert problem(place, []) == f"{place} must be a list of {least}, got []"
    if most is None:
        assert problem(place, [item] * 1000) is None
    else:
        assert problem(place, [item] * most) is None
        assert str(problem(place, [item] * (most + 1))).startswith(f"{place} must be a list of {fewest} to ")
    assert problem(place, "text") in (
        f"{place} must be a list, got 'text'",
        f"{place} must be a list of at least 1, got 'text'",
        f"{place} must be a list of 1 to 64, got 'text'",
    )


def test_null_stands_for_what_is_optional_only() -> None:
    optional = {f"config.{key}" for key, value in COMPLETE["config"].items() if value is None}
    optional |= {"network.classes", "layers.0.positions", "layers.0.position_order", "config.keep"}
    places = [
        f"{key}.{name}" for key in ("config", "network", "preprocess", "counts") for name in COMPLETE[key]
    ]
    places += [f"layers.0.{name}" for name in COMPLETE["layers"][0]]
    assert {place for place in places if problem(place, None) is None} == optional


def test_a_deviation_is_above_zero_and_fractions_are_numbers_of_any_kind() -> None:
    assert problem("preprocess.std.0", 1e-300) is None
    assert problem("preprocess.std.0", 0) == "preprocess.std[0] must be a finite number above 0, got 0"
    for value in (float("nan"), float("inf"), -float("inf"), 1 << 2000):
        assert str(problem("preprocess.mean.0", value)).startswith(
            "preprocess.mean[0] must be a finite number"
        )
    assert problem("config.max_bad_fraction", 1.0000001) == (
        "config.max_bad_fraction must be a number in 0..1, got 1.0000001"
    )
    assert problem("config.top", 9.0) == "config.top must be a whole number in 1..1024, got 9.0"


def test_text_has_at_most_4096_characters_that_the_system_takes() -> None:
    for text in ("", "x" * 4096, "é", "\ud7ff", "\ue000"):
        assert problem("config.out", text) is None
    for text in ("x" * 4097, "a\0b", "\ud800", "\udfff", 7):
        assert str(problem("config.out", text)).startswith(
            "config.out must be text of at most 4,096 printable characters, got "
        )


def test_a_digest_has_64_hexadecimal_digits() -> None:
    for text in (DIGEST[:-1], DIGEST + "0", DIGEST[:-1] + "g", DIGEST.upper(), "", 0, None):
        assert str(problem("sha256", text)).startswith("sha256 must be 64 hexadecimal digits, got ")


def test_words_and_flags() -> None:
    assert problem("status", "incomplete") is None
    assert problem("status", "done") == "status must be one of incomplete, complete, got 'done'"
    assert problem("config.fresh", True) is None
    assert problem("config.fresh", 1) == "config.fresh must be true or false, got 1"
    assert problem("fields", {"any": [1]}) is None
    assert problem("fields", []) == "fields must be an object, got []"
    assert problem("counts", []) == "counts must be an object, got []"
    for kept in (None, [], "peaks", ["peaks", "images"], ["peaks"]):
        expected = None if kept != ["peaks", "images"] else "config.keep must be a list of "
        found = problem("config.keep", kept)
        assert found is None if expected is None else str(found).startswith(expected)


def test_a_value_is_shown_on_one_line_of_60_characters() -> None:
    assert problem("status", "x" * 58) == f"status must be one of incomplete, complete, got '{'x' * 58}'"
    assert problem("status", "x" * 59) == f"status must be one of incomplete, complete, got '{'x' * 56}..."
    assert problem("status", "é\n") == r"status must be one of incomplete, complete, got '\xe9\n'"


def test_what_must_be_there_and_what_may_be() -> None:
    required = {"schema_version", "status", "fingerprint", "config", "network", "preprocess", "dataset"}
    for key in COMPLETE:
        less = {name: value for name, value in COMPLETE.items() if name != key}
        assert find_problem(RUN, less) == (
            f"the content has no {key}" if key in {*required, "counts"} else None
        )
    assert find_problem(RUN, {**COMPLETE, "unknown": object()}) is None
    assert find_problem(LAYER, {}) == "the content has no name"
    assert find_problem(RUN, []) == "the content must be an object, got []"


def test_a_complete_run_has_all_its_counts() -> None:
    path = Path("out/run.json")
    refuse_invalid_run(path, COMPLETE)
    for name in COMPLETE["counts"]:
        counts = {key: value for key, value in COMPLETE["counts"].items() if key != name}
        refuse_invalid_run(path, {**COMPLETE, "status": "incomplete", "counts": counts})
        with pytest.raises(
            StoreError, match=rf"^out/run\.json: counts has no {name}; restore it from a copy"
        ):
            refuse_invalid_run(path, {**COMPLETE, "counts": counts})


def test_the_limits_of_a_commit() -> None:
    tables = dict.fromkeys(("state", "histogram", "labels", "sample", "images", "errors"), DIGEST)
    shard = {"name": "a", "size": 0, "images": 0, "errors": 0, "digest": "any text"}
    commit = {"fingerprint": DIGEST, "shards": [shard], "tables": tables, "units": 1, "k": 1}
    refuse_invalid("commit", COMMIT, commit)
    for place, least, most in [
        ("units", 1, 2147483647),
        ("k", 1, 1024),
        ("shards.0.size", 0, 9007199254740992),
        ("shards.0.images", 0, 9007199254740992),
        ("format", 0, 9007199254740992),
    ]:
        for value in (least, most):
            assert find_problem(COMMIT, with_value(commit, place, value)) is None
        for value in (least - 1, most + 1):
            assert find_problem(COMMIT, with_value(commit, place, value)) is not None
    assert find_problem(COMMIT, {**commit, "shards": []}) == "shards must be a list of at least 1, got []"
    assert (
        find_problem(COMMIT, with_value(commit, "shards.0.name", 7)) == "shards[0].name must be text, got 7"
    )
    with pytest.raises(StoreError, match=r"^commit: the content has no k; restore it from a copy"):
        refuse_invalid("commit", COMMIT, {key: value for key, value in commit.items() if key != "k"})


def leaves(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value that has no parts."""
    parts = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in parts:
        if isinstance(value, dict | list):
            yield (*path, key)
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_index(tmp_path_factory.mktemp("small"))


@pytest.mark.slow
def test_every_odd_value_anywhere_is_harmless(small: Path, tmp_path: Path) -> None:
    out = shutil.copytree(small, tmp_path / "out")
    content = json.loads((out / "run.json").read_text())
    before = {path.name for path in tmp_path.iterdir()}
    messages = []
    for place in leaves(content):
        for odd in ODD:
            changed = copy.deepcopy(content)
            parent = changed
            for key in place[:-1]:
                parent = parent[key]
            parent[place[-1]] = odd
            (out / "run.json").write_text(json.dumps(changed))
            try:
                with open_index(out) as index:
                    index.top("stem", 0)
                    index.class_names("head")
                    index.sql("SELECT * FROM patches LIMIT 1")
            except MaxactError as error:
                messages.append(str(error))
    assert len(messages) > 100
    assert not any("\n" in message for message in messages)
    assert {path.name for path in tmp_path.iterdir()} == before


def test_text_of_a_field_never_becomes_sql(small: Path, tmp_path: Path) -> None:
    out = shutil.copytree(small, tmp_path / "out")
    content = json.loads((out / "run.json").read_text())
    content["preprocess"]["fit"] = f"crop'; COPY (SELECT 1) TO '{tmp_path / 'written'}'; --"
    (out / "run.json").write_text(json.dumps(content))
    with pytest.raises(StoreError, match=r"preprocess\.fit must be one of crop, crop_floor, squash"):
        open_index(out)
    assert not (tmp_path / "written").exists()
