"""The page of a study: what it holds, what it does not tell, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import LayerError, MaxactError, UsageError
from pipeline.layers.layer import Layer
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from tests.fixtures.runs import config
from tests.fixtures.small_index import build_index
from tests.fixtures.study import LAYER, RENDERED, build_studied_index, study_of, write_study
from tests.fixtures.tables import edit_run
from tests.fixtures.tiny import tiny_network, write_tars
from viz.recipes.catalog import get_recipe
from viz.study import build as study_build
from viz.study.conditions import choose_conditions
from viz.study.questions import ASKED, MOST


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_studied_index(tmp_path_factory.mktemp("study"))


def test_the_questions_are_those_of_the_lists(out: Path, tmp_path: Path) -> None:
    study = study_of(write_study(out, tmp_path / "page", references=("synthetic", "real", "real1", "none")))
    assert study["about"]["conditions"] == ["fourier", "real 9", "real 1", "none"]
    with open_index(out) as index:
        tops = {side: index.tops(LAYER, RENDERED, n=20, side=side) for side in ("high", "low")}
    for number, unit in enumerate(RENDERED):
        found = study["units"][number]
        assert (found["layer"], found["unit"]) == (LAYER, unit)
        high, low = ([image.image_id for image in tops[side][unit]] for side in ("high", "low"))
        assert found["shown"] == high[:MOST]
        assert [image for _, image in found["asked"]] == high[MOST : MOST + ASKED] + low[:ASKED]
        assert [len(places) for places in found["references"]] == [1, 9, 1, 0]
        asked = {place for place, _ in found["asked"]}
        assert not asked & {place for places in found["references"] for place in places}
    spare = {unit["unit"] for unit in study["units"][len(RENDERED) :]}
    assert spare == {3, 4}
    for uri in study["pictures"]:
        head, _, data = uri.partition(",")
        assert head == "data:image/webp;base64"
        Image.open(io.BytesIO(base64.b64decode(data))).load()


def test_questions_may_be_about_another_index(out: Path, tmp_path: Path) -> None:
    tars = write_tars(tmp_path / "other-data", [40], seed=1000)
    run_index(config(tars, tmp_path / "other", layers=(LAYER,), top=32), network=tiny_network())
    with open_index(tmp_path / "other") as other:
        study = study_of(write_study(out, tmp_path / "page", asking=other))
        top = other.tops(LAYER, RENDERED, n=ASKED)
        assert study["about"]["images"] == 40
        assert study["about"]["asking"] == other.run["fingerprint"] != study["about"]["index"]
    for found in study["units"][: len(RENDERED)]:
        images = [image for _, image in found["asked"][:ASKED]]
        assert images == [image.image_id for image in top[found["unit"]]]
    copy = tmp_path / "copy"
    run_index(
        config([out.parent / "data" / "tiny-000.tar"], copy, layers=(LAYER,), top=32), network=tiny_network()
    )
    with open_index(copy) as other, pytest.raises(UsageError, match="no unit is left"):
        write_study(out, tmp_path / "same", asking=other)


def test_the_page_asks_nothing_from_anywhere(out: Path, tmp_path: Path) -> None:
    page = write_study(out, tmp_path / "page")
    assert [path.name for path in page.parent.iterdir()] == ["index.html"], "no file name tells the answer"
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
    assert "http:" not in text
    assert "https:" not in text
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy.startswith("default-src 'none'; img-src data:;")
    for name in ("style", "script"):
        (content,) = re.findall(rf"<{name}>(.*?)</{name}>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy


def test_the_names_of_strangers_are_data(tmp_path: Path) -> None:
    out = build_studied_index(tmp_path)
    hostile = "</script><img src=x onerror=alert(1)>\u2028"
    edit_run(out, lambda run: run["network"].update(name=hostile))
    edit_run(out, lambda run: run["dataset"].update(name=hostile))
    page = write_study(out, tmp_path / "page")
    assert "onerror=alert(1)>" in json.dumps(study_of(page))
    assert "<img src=x" not in page.read_text(encoding="utf-8")
    assert study_of(page)["about"]["network"] == hostile


def test_the_same_call_writes_the_same_page_and_a_seed_another(out: Path, tmp_path: Path) -> None:
    pages = [write_study(out, tmp_path / "page").read_bytes() for _ in range(2)]
    assert pages[0] == pages[1]
    other = study_of(write_study(out, tmp_path / "page", seed=1))
    assert (
        other["about"]["id"]
        != json.loads(re.findall(rb'id="study">(.*?)</script>', pages[0])[0])["about"]["id"]
    )


def test_where_there_are_no_spare_units_those_of_the_study_are_used(out: Path, tmp_path: Path) -> None:
    study = study_of(write_study(out, tmp_path / "page", units="all", references=("real",)))
    assert len(study["units"]) == 10
    assert {unit["unit"] for unit in study["units"][5:]} == set(range(5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": (0, 3)}, "units 3 of first have no rendering of recipe fourier"),
        ({"references": ("reel",)}, "no word 'reel'; did you mean"),
        ({"references": ("real", "real")}, "names real twice"),
        ({"references": ()}, "--reference is empty"),
        ({"trials": 3}, "--trials 3: give a multiple of 2"),
        ({"trials": 8}, "of at most 6"),
        ({"layers": ("nowhere",)}, "has no layer 'nowhere'"),
    ],
)
def test_calls_that_cannot_be_right(
    out: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises((UsageError, LayerError), match=re.escape(message)):
        write_study(out, tmp_path / "page", **changes)
    assert not (tmp_path / "page").exists()


def test_folders_that_cannot_be_used(out: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("<p>mine")
    for folder, message in (
        (out / "study", "lies in the index"),
        (out, "lies in the index"),
        (tmp_path / "file", "is not a folder"),
        (tmp_path / "file" / "below", "file is not a folder"),
        (tmp_path / ("x" * 5000), "cannot (?:be used|create)"),
        (tmp_path / "site", "is not a study"),
    ):
        with pytest.raises(MaxactError, match=message):
            write_study(out, folder)
    assert (tmp_path / "site" / "index.html").read_text() == "<p>mine"
    assert not (out / "study").exists()


def test_a_unit_with_too_few_photographs_is_left_out(tmp_path: Path) -> None:
    tars = write_tars(tmp_path / "data", [14])
    run_index(config(tars, tmp_path / "index", layers=(LAYER,), top=14), network=tiny_network())
    with pytest.raises(UsageError, match="no unit is left"):
        write_study(tmp_path / "index", tmp_path / "page", references=("real",))


def test_what_a_study_cannot_be_about_is_refused(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(get_recipe("fourier"), name="none")
    with pytest.raises(UsageError, match="a recipe must not be called none, like another"):
        choose_conditions(["synthetic", "none"], recipe)
    layer = Layer("stem", 0, "map", 4, 0, 7, 7, 9, 9, 4, 4, -2, -2)
    monkeypatch.setattr(study_build, "MAX_UNITS", 2)
    with pytest.raises(UsageError, match="a study has at most 2 units, got 3; give fewer"):
        study_build._check([(layer, [0, 1, 2])], 2, None)
    other = build_index(tmp_path / "other")
    edit_run(other, lambda run: run["network"].update(digest="f" * 64))
    with (
        open_index(out) as index,
        open_index(other, trust=True) as asking,
        pytest.raises(UsageError, match=r"was made with other weights than .*; give an index"),
    ):
        study_build._refuse_other_network(index, asking, [])
