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
from tests.fixtures.small_index import build_index

ODD = [None, -1, 1e308, "", "x", [], {}, True, "');-- '\"" * 40, float("nan"), 1 << 70, [[1]]]


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
