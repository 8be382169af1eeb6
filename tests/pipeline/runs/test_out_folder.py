"""The folder of an index: what is refused, what `--fresh` removes, and what it never touches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import RunConfig
from pipeline.errors import StoreError, UsageError
from pipeline.runs.run import run_index
from tests.fixtures.commands import refused, run
from tests.fixtures.runs import config, hashes
from tests.fixtures.tables import edit_run
from tests.fixtures.tiny import picture, tiny_network, write_tars

pytestmark = pytest.mark.slow

OPTIONS = ("--network", "tests.fixtures.tiny:factory", "--layers", "first", "--compile", "off", "--top", "3")


def write_foreign(path: Path) -> bytes:
    """A user's own Parquet file: rows of images, without the footer of maxact."""
    pq.write_table(pa.table({"image": pa.array([picture(0)]), "label": ["cat"]}), path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_tars(tmp_path_factory.mktemp("data"), [4, 3])


@pytest.mark.parametrize("name", ["images.parquet", "top.parquet", "renders.parquet"])
@pytest.mark.parametrize("fresh", [(), ("--fresh",)])
def test_a_users_file_under_the_name_of_a_table_stays(
    tars: list[Path], tmp_path: Path, name: str, fresh: tuple[str, ...]
) -> None:
    content = write_foreign(tmp_path / name)
    line = refused(run("index", *tars, "-o", tmp_path, *OPTIONS, *fresh))
    assert f"{tmp_path / name} was not written by maxact" in line
    assert "give another --out" in line
    assert "--fresh" not in line
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == content


def test_a_users_file_that_came_into_a_finished_index_stays(tars: list[Path], tmp_path: Path) -> None:
    words = ("index", *tars, "-o", tmp_path, *OPTIONS)
    assert run(*words).exit_code == 0
    content = write_foreign(tmp_path / "images.parquet")
    before = sorted(path.name for path in tmp_path.iterdir())
    for more in ((), ("--fresh",), ("--top", "2", "--fresh")):
        assert "images.parquet was not written by maxact" in refused(run(*words, *more))
    assert (tmp_path / "images.parquet").read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("text", ["{}", "[]", '{"rate": 0.1}', "rate = 0.1"])
def test_a_users_run_json_stays(tars: list[Path], tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert "run.json was not written by maxact" in refused(
        run("index", *tars, "-o", tmp_path, *OPTIONS, "--fresh")
    )
    assert (tmp_path / "run.json").read_text() == text


@pytest.mark.parametrize("damage", ["table", "run"])
def test_what_maxact_wrote_can_be_replaced_when_it_is_damaged(
    tars: list[Path], tmp_path: Path, damage: str
) -> None:
    words = ("index", *tars, "-o", tmp_path, *OPTIONS)
    assert run(*words).exit_code == 0
    before = hashes(tmp_path)
    path = tmp_path / {"table": "top.parquet", "run": "run.json"}[damage]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = run(*words, "--fresh")
    assert result.exit_code == 0, result.output
    assert hashes(tmp_path) == before


def test_other_files_in_the_folder_of_a_part_stay(tars: list[Path], tmp_path: Path) -> None:
    words = ("index", *tars, "-o", tmp_path, *OPTIONS)
    assert run(*words).exit_code == 0
    (part, *_) = [path for path in (tmp_path / "parts").iterdir() if path.is_dir()]
    (part / "notes.txt").write_text("mine")
    assert run(*words, "--fresh", "--top", "2").exit_code == 0
    assert (part / "notes.txt").read_text() == "mine"
    assert not (part / "state.parquet").exists()


@pytest.mark.parametrize("relation", ["is", "lies in", "contains"])
@pytest.mark.parametrize("linked", [False, True])
def test_an_index_is_not_written_among_its_images(tmp_path: Path, relation: str, linked: bool) -> None:
    data = tmp_path / "all" / "photos"
    data.mkdir(parents=True)
    (data / "a.png").write_bytes(picture(0))
    out = {"is": data, "lies in": data / "new" / "out", "contains": tmp_path / "all"}[relation]
    if linked:
        (tmp_path / "link").symlink_to(tmp_path / "all")
        out = tmp_path / "link" / out.relative_to(tmp_path / "all")
    before = sorted(tmp_path.rglob("*"))
    for fresh in ((), ("--fresh",)):
        line = refused(run("index", data, "-o", out, *OPTIONS, *fresh), 2)
        assert f"{out} {relation} the dataset {data}" in line
    assert sorted(tmp_path.rglob("*")) == before


def test_an_index_may_lie_beside_the_files_of_a_pattern_but_not_above_them(tmp_path: Path) -> None:
    write_tars(tmp_path, [2, 2])
    pattern = f"{tmp_path}/tiny-{{000..001}}.tar"
    assert "contains the dataset" in refused(run("index", pattern, "-o", tmp_path, *OPTIONS), 2)
    assert run("index", pattern, "-o", tmp_path / "out", *OPTIONS).exit_code == 0


def test_a_dataset_that_is_passed_is_compared_as_well(tmp_path: Path) -> None:
    from pipeline.data.dataset import open_dataset

    tars = write_tars(tmp_path / "data", [2])
    dataset = open_dataset(tars)
    with pytest.raises(StoreError, match="contains the dataset"):
        run_index(config(["elsewhere"], tmp_path), network=tiny_network(), dataset=dataset)


def test_an_empty_name_is_refused(tars: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert "--out: the name of the folder is empty" in refused(run("index", *tars, "-o", "", *OPTIONS), 2)
    assert "the name of the folder is empty" in refused(run("merge", "", tmp_path), 2)
    with pytest.raises(UsageError, match="empty"):
        RunConfig(data=tars, out="")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def two(tars: list[Path], tmp_path: Path) -> list[Path]:
    outs = [tmp_path / "a", tmp_path / "b"]
    for tar, out in zip(tars, outs, strict=True):
        assert run("index", tar, "-o", out, *OPTIONS).exit_code == 0
    return outs


def test_a_merge_replaces_nothing_of_anybody(two: list[Path], tmp_path: Path) -> None:
    a, b = two
    out = tmp_path / "out"
    out.mkdir()
    content = write_foreign(out / "images.parquet")
    assert "images.parquet was not written by maxact" in refused(run("merge", out, a, b))
    assert (out / "images.parquet").read_bytes() == content
    assert "lies in" in refused(run("merge", a / "merged", a, b), 2)
    assert not (a / "merged").exists()
    shutil.copytree(a, out / "parts" / "a")
    (out / "images.parquet").unlink()
    assert "lies among the files of" in refused(run("merge", out, out / "parts" / "a", b), 2)
    (b / "run.json").unlink()
    before = hashes(b)
    assert "holds an index without run.json" in refused(run("merge", b, a))
    assert hashes(b) == before


def test_a_merge_is_not_written_among_the_images(tmp_path: Path) -> None:
    (tar,) = write_tars(tmp_path / "data", [3])
    assert run("index", tar, "-o", tmp_path / "a", *OPTIONS).exit_code == 0
    assert "contains the dataset" in refused(run("merge", tmp_path / "data", tmp_path / "a"), 2)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [tar.name]


@pytest.fixture
def leftovers(tars: list[Path], tmp_path: Path) -> tuple[list[Path], list[Path]]:
    """What crashed commands leave in OUT, and files that only look like it."""
    assert run("index", *tars, "-o", tmp_path, *OPTIONS).exit_code == 0
    ours = [
        ".top.parquet.77.tmp",
        ".run.json.77.tmp",
        ".renders.parquet.1.tmp",
        ".spill/duckdb_temp_storage_DEFAULT-0.tmp",
        "renders/first/.fourier-point-00001-s0-0123abcd.png.77.tmp",
        "renders/.0123456789abcdef-0123456789abcdef.checkpoint.77.tmp",
        "sheets/.first-fourier-0000-0001.png.77.tmp",
        "sheets/.first-fourier-0000-0001.pdf.77.tmp",
        "projections/first/.00001.png.77.tmp",
        "prior/.first.pt.77.tmp",
        "atlas/unit/0/.1.html.77.tmp",
        "atlas/pictures/0/.1-range.webp.77.tmp",
    ]
    others = [".notes.77.tmp", "top.parquet.77.tmp", ".top.parquet.tmp", "renders/first/notes.77.tmp"]
    for name in (*ours, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    return [tmp_path / name for name in ours], [tmp_path / name for name in others]


@pytest.mark.parametrize(
    "command", ["index", pytest.param("render", marks=pytest.mark.slow), "sheets", "merge"]
)
def test_leftovers_of_crashed_runs_are_removed(
    tars: list[Path], tmp_path: Path, leftovers: tuple[list[Path], list[Path]], command: str
) -> None:
    ours, others = leftovers
    words: dict[str, tuple[object, ...]] = {
        "index": ("index", *tars, "-o", tmp_path, *OPTIONS),
        "render": ("render", tmp_path, "--units", 0, "--recipe", "fourier", "--steps", 1),
        "sheets": ("sheets", tmp_path, "--units", 0),
        "merge": ("merge", tmp_path, tmp_path),
    }
    result = run(*words[command])
    assert result.exit_code == 0, result.output
    assert [path for path in ours if path.exists()] == []
    assert not (tmp_path / ".spill").exists()
    assert [path for path in others if not path.exists()] == []


def test_nothing_is_removed_beside_a_running_command(
    tmp_path: Path, leftovers: tuple[list[Path], list[Path]]
) -> None:
    from pipeline.store.leftovers import writing

    ours, others = leftovers
    with writing(tmp_path):
        pass
    for path in ours:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    import fcntl

    with open(tmp_path / ".writers.lock") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        with writing(tmp_path):
            assert all(path.exists() for path in (*ours, *others))
        with pytest.raises(StoreError, match="another process is working in"), writing(tmp_path, alone=True):
            pass


def test_a_spill_folder_with_other_files_stays(tars: list[Path], tmp_path: Path) -> None:
    (tmp_path / ".spill").mkdir()
    (tmp_path / ".spill" / "notes.txt").write_text("mine")
    assert run("index", *tars, "-o", tmp_path, *OPTIONS).exit_code == 0
    assert (tmp_path / ".spill" / "notes.txt").read_text() == "mine"


def test_a_module_that_was_passed_is_recorded_under_its_own_name(tars: list[Path], tmp_path: Path) -> None:
    run_index(config(tars, tmp_path), network=tiny_network())
    run_json = json.loads((tmp_path / "run.json").read_text())
    assert "efficientnet_lite0" not in json.dumps(run_json)
    assert run_json["network"]["name"] == run_json["fields"]["network"] == "tiny"
    assert run_json["config"]["network"] is None
    for words in (("check",), ("render", "--layer", "first", "--units", 0), ("project", "--layer", "first")):
        line = refused(run(words[0], tmp_path, *words[1:]))
        assert "the network of this index, tiny, was passed in Python" in line
        assert "network=" in line


def test_an_older_index_of_a_passed_module_says_so_as_well(tars: list[Path], tmp_path: Path) -> None:
    run_index(config(tars, tmp_path), network=tiny_network())
    edit_run(tmp_path, lambda run: run["config"].update(network="efficientnet_lite0"))
    assert "tiny, was passed in Python" in refused(run("check", tmp_path))


def test_a_network_that_is_passed_and_named_can_be_loaded_again(tars: list[Path], tmp_path: Path) -> None:
    from pipeline.networks.network import load_network

    name = "tests.fixtures.tiny:factory"
    run_index(config(tars, tmp_path, network=name), network=load_network(name))
    assert run("check", tmp_path).exit_code == 0
