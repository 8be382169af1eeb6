"""`index`, `merge` and `check` as typed: what is said, where, and with which exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.fixtures.commands import run
from tests.fixtures.runs import hashes
from tests.fixtures.tiny import picture, write_tars

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
TINY = ("--network", "tests.fixtures.tiny:factory", "--layers", "first", "--layers", "second")
OPTIONS = (*TINY, "--compile", "off", "--top", "5", "--workers", "1")


def refused(result: Any, code: int = 1) -> str:
    """The one line that says what is wrong."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.stderr.splitlines()[-1] == line
    assert "Traceback" not in result.stderr
    return line


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_tars(tmp_path_factory.mktemp("data"), [6, 5, 4])


@pytest.fixture(scope="module")
def indexed(tars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "index"
    assert run("index", *tars, "-o", out, *OPTIONS).exit_code == 0
    return out


def test_index_ends_in_a_line_of_what_is_there(tars: list[Path], tmp_path: Path) -> None:
    result = run("index", *tars, "--out", tmp_path / "out", *OPTIONS)
    assert result.exit_code == 0
    assert re.fullmatch(rf"{tmp_path / 'out'}: 15 images, 9 units in 2 layers, 0:0\d\n", result.stdout)
    assert "3 shards" in result.stderr
    assert "2 layers, 9 units; compile off, as requested" in result.stderr
    assert "indexing: 15 of 15 images" in result.stderr
    assert "error" not in result.output


def test_a_finished_index_is_left_alone(tars: list[Path], indexed: Path) -> None:
    before = hashes(indexed)
    result = run("index", *tars, "-o", indexed, *OPTIONS)
    assert result.exit_code == 0
    assert f"{indexed} is complete; nothing to do (--fresh starts over)" in result.stderr
    assert "15 images" in result.stdout
    assert "3 shards from an earlier run" in result.stdout
    assert hashes(indexed) == before


def test_an_interrupted_run_says_what_it_skips(
    tars: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.engines import index_work

    commit_part, done = index_work.commit_part, []

    def interrupted(*arguments: Any) -> object:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(commit_part(*arguments))
        return done[-1]

    words = ("index", *tars, "-o", tmp_path / "out", *OPTIONS)
    with monkeypatch.context() as patch:
        patch.setattr(index_work, "commit_part", interrupted)
        result = run(*words)
    assert result.exit_code == 130
    assert result.stdout == ""
    assert result.stderr.endswith("stopped; finished work is kept: run the same command again to continue\n")
    result = run(*words)
    assert result.exit_code == 0
    assert "resuming: skipping 2 of 3 shards, already committed" in result.stderr
    assert "indexing: 4 of 4 images" in result.stderr
    assert "2 shards from an earlier run" in result.stdout


def test_another_run_is_refused_with_the_difference(tars: list[Path], indexed: Path) -> None:
    before = hashes(indexed)
    line = refused(run("index", *tars, "-o", indexed, *OPTIONS, "--top", "6"))
    assert "holds another run: top was 5, now 6. Give --top 5 to continue that run, another --out" in line
    assert line.endswith("another --out to keep it, or --fresh to remove it and start over")
    line = refused(run("index", *tars, "-o", indexed, *OPTIONS, "--layers", "head"))
    assert "layers was" in line
    assert "]]. Give another --out to keep it, or --fresh" in line
    line = refused(run("index", *tars[:2], "-o", indexed, *OPTIONS))
    assert "it had 3 shards" in line
    assert "now 2 shards" in line
    assert "maxact merge" in line
    assert hashes(indexed) == before


def test_fresh_starts_over_and_leaves_other_files_alone(tars: list[Path], tmp_path: Path) -> None:
    words = ("index", *tars, "-o", tmp_path, *OPTIONS)
    assert run(*words).exit_code == 0
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "parts" / "notes.txt").write_text("mine too")
    result = run(*words, "--top", "3", "--fresh")
    assert result.exit_code == 0
    assert pq.read_table(tmp_path / "top.parquet")["rank"].to_pylist().count(4) == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "parts" / "notes.txt").read_text() == "mine too"


def test_fresh_on_a_new_folder_is_no_error(tars: list[Path], tmp_path: Path) -> None:
    assert run("index", *tars, "-o", tmp_path / "new", *OPTIONS, "--fresh").exit_code == 0


def test_more_classes_only_write_the_tables_again(tars: list[Path], tmp_path: Path) -> None:
    words = ("index", *tars, "-o", tmp_path, *OPTIONS)
    assert run(*words, "--classes", "1").exit_code == 0
    assert pq.read_table(tmp_path / "classes.parquet").num_rows == 9
    result = run(*words, "--classes", "all")
    assert "indexing" not in result.stderr
    assert pq.read_table(tmp_path / "classes.parquet").num_rows == 3 * 9


def test_a_lost_table_is_written_again(tars: list[Path], tmp_path: Path) -> None:
    words = ("index", *tars, "-o", tmp_path, *OPTIONS)
    assert run(*words).exit_code == 0
    before = hashes(tmp_path)
    (tmp_path / "top.parquet").unlink()
    assert run(*words).exit_code == 0
    assert hashes(tmp_path) == before


def test_bad_images_are_counted_and_where_to_look_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(picture(number))
    (folder / "bad.png").write_bytes(b"no image")
    out = tmp_path / "out"
    result = run("index", folder, "-o", out, *OPTIONS)
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert "3 images" in first
    assert second == f"1 image could not be used: maxact sql {out} 'SELECT * FROM errors'"
    shown = run("sql", out, "SELECT * FROM errors", "--csv").stdout
    assert "bad.png,unknown,no image format" in shown


def test_a_dataset_of_bad_images_only_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.png").write_bytes(b"no image")
    out = tmp_path / "out"
    result = run("index", folder, "-o", out, *OPTIONS)
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last == f"error: none of 2 images could be used: maxact sql {out} 'SELECT * FROM errors'"
    assert run("sql", out, "SELECT key FROM errors", "--csv").stdout.splitlines() == ["key", "0.png", "1.png"]


def test_too_many_bad_images_name_the_last(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(11):
        (folder / f"{number:02}.jpg").write_bytes(b"no image")
    words = ("index", folder, "-o", tmp_path / "out", *OPTIONS)
    line = refused(run(*words))
    assert "11 of 11 images of photos/00000 cannot be used" in line
    assert "more than --max-bad-fraction 0.01; the last is '10.jpg'" in line
    (folder / "11.png").write_bytes(picture(0))
    assert run(*words, "--max-bad-fraction", "1").exit_code == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("nowhere", "-o", "{tmp}/out"), 2, "nowhere does not exist"),
        (("{tmp}/empty", "-o", "{tmp}/out"), 2, "contains no images"),
        (("{tmp}/tiny-{{000..009}}.tar", "-o", "{tmp}/out"), 2, "tiny-000.tar does not exist"),
        (("{data}", "-o", "{tmp}/file"), 2, "{tmp}/file is not a folder"),
        (("{data}", "-o", "{tmp}/file/deeper"), 2, "is not a folder"),
        (("{data}", "-o", "{tmp}/out", "--top", "0"), 2, "--top must be in 1..1024, got 0"),
        (("{data}", "-o", "{tmp}/out", "--score", "sum"), 2, "--score: 'sum' is not one of 'max', 'mean'"),
        (("{data}", "-o", "{tmp}/out", "--workers", "0"), 2, "--workers must be in"),
        (("{data}", "-o", "{tmp}/out", "--batch-size", "9999"), 2, "--batch-size must be in"),
        (
            ("{data}", "-o", "{tmp}/out", "--precision", "fp16"),
            2,
            "--precision: 'fp16' is not one of 'auto'",
        ),
        (
            ("{data}", "-o", "{tmp}/out", "--memory-format", "x"),
            2,
            "--memory-format: 'x' is not one of",
        ),
        (("{data}", "-o", "{tmp}/out", "--compile", "yes"), 2, "'yes' is not one of 'auto', 'on', 'off'"),
        (
            ("{data}", "-o", "{tmp}/out", "--decoder", "cv2"),
            2,
            "--decoder: 'cv2' is not one of 'auto', 'pil'",
        ),
        (
            ("{data}", "-o", "{tmp}/out", "--device", "tpu"),
            2,
            "--device: 'tpu' is not one of 'auto', 'cpu'",
        ),
        (("{data}", "-o", "{tmp}/out", "--classes", "few"), 2, "must be a number or `all`"),
        (("{data}", "-o", "{tmp}/out", "--classes", "0"), 2, "--classes must be in"),
        (("{data}", "-o", "{tmp}/out", "--max-bad-fraction", "2"), 2, "must be in 0..1"),
        (("{data}", "-o", "{tmp}/out", "--layers", "secnd"), 2, "did you mean 'second'"),
        (("{data}", "-o", "{tmp}/out", "--network", "resnet5"), 2, "did you mean 'resnet50'"),
        (
            ("{data}", "-o", "{tmp}/out", "--network", "tests.fixtures.tiny:no"),
            2,
            "no function 'no'",
        ),
        (("{data}", "-o", "{tmp}/out", "--weights", "w.pt"), 2, "w.pt"),
    ],
)
def test_a_wrong_call_is_one_line(
    tars: list[Path], tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    data = str(tars[0].parent)
    given = [word.format(tmp=tmp_path, data=data) for word in words]
    defaults = [] if "--network" in given else ["--network", "tests.fixtures.tiny:factory"]
    line = refused(run("index", *given, *defaults), code)
    assert message.format(tmp=tmp_path) in line
    assert not (tmp_path / "out").exists(), "a refused run leaves nothing behind"


@pytest.mark.parametrize(
    "words", [("index", "demo"), ("index",), ("merge", "out"), ("check",), ("check", "a", "b")]
)
def test_missing_or_surplus_words_exit_with_two(words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(f"{words[0]} --help)")


def test_a_damaged_shard_is_named_and_mending_it_lets_the_run_go_on(tars: list[Path], tmp_path: Path) -> None:
    data = [tmp_path / tar.name for tar in tars]
    for path, tar in zip(data, tars, strict=True):
        path.write_bytes(tar.read_bytes())
    data[1].write_bytes(tars[1].read_bytes()[:4000])
    words = ("index", *data, "-o", tmp_path / "out", *OPTIONS)
    line = refused(run(*words))
    assert line.startswith("error: shard tiny-001.tar: does not end with the two zero blocks of a tar arch")
    assert "(4,000 bytes)" in line
    line = refused(run("check", tmp_path / "out"))
    assert "not finished; run the same `maxact index` again" in line
    data[1].write_bytes(tars[1].read_bytes())
    result = run(*words)
    assert result.exit_code == 0
    assert "skipping 1 of 3 shards" in result.stderr


def test_merging_gives_the_index_of_one_run(tars: list[Path], indexed: Path, tmp_path: Path) -> None:
    a, b, out = (tmp_path / name for name in ("a", "b", "out"))
    assert run("index", *tars[:2], "-o", a, *OPTIONS).exit_code == 0
    assert run("index", *tars[1:], "-o", b, *OPTIONS).exit_code == 0
    result = run("merge", out, a, b)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{out}: 15 images, 9 units in 2 layers")
    assert hashes(out) == hashes(indexed), "the fingerprint in the footers included"
    result = run("index", *tars, "-o", out, *OPTIONS)
    assert "is complete; nothing to do" in result.stderr
    assert run("check", out).exit_code == 0


def test_merging_adds_to_what_is_there(tars: list[Path], indexed: Path, tmp_path: Path) -> None:
    runs = [tmp_path / str(number) for number in range(3)]
    for tar, out in zip(tars, runs, strict=True):
        assert run("index", tar, "-o", out, *OPTIONS).exit_code == 0
    assert run("merge", tmp_path / "out", runs[2], runs[0]).exit_code == 0
    assert run("merge", tmp_path / "out", runs[1]).exit_code == 0
    assert hashes(tmp_path / "out") == hashes(indexed)
    assert run("merge", runs[0], *runs).exit_code == 0
    assert hashes(runs[0]) == hashes(indexed)


def test_merging_what_does_not_fit_is_refused(tars: list[Path], indexed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert run("index", tars[0], "-o", other, *OPTIONS, "--top", "4").exit_code == 0
    line = refused(run("merge", tmp_path / "out", indexed, other))
    assert "top was 4, now 5. Only runs with the same options can be merged" in line
    assert "does not exist" in refused(run("merge", tmp_path / "out", indexed, tmp_path / "no"), 2)
    assert "holds no index" in refused(run("merge", tmp_path / "out", tars[0].parent), 2)
    assert not (tmp_path / "out").exists()


def test_check_says_how_much_agrees(indexed: Path) -> None:
    result = run("check", indexed)
    assert result.exit_code == 0
    assert "tables: every row compared with a merge of the parts\n" in result.stdout
    assert "dataset: 3 of 3 shards read and compared\n" in result.stdout
    assert re.search(
        r"15 images of 15 run again: \d+ recorded peaks and 180 absences compared;", result.stdout
    )
    assert result.stdout.endswith("\n0 discrepancies found\n")
    assert "sample:" not in result.stdout, "every image was run"


def test_check_says_what_a_sample_can_tell(indexed: Path) -> None:
    result = run("check", indexed, "--sample", "4")
    assert result.exit_code == 0
    assert re.search(
        r"sample: 2 of the \d+ images on lists were drawn; no forged one is among them with probability "
        r"0\.\d+ if 1% are forged, 0\.\d+ if 5% are forged; --all runs every image",
        result.stdout,
    )
    assert "15 images of 15 run again" in run("check", indexed, "--all").stdout
    result = run("check", indexed, "--sample", "0")
    assert "run again" not in result.stdout
    assert result.stdout.endswith("\n0 discrepancies found\n")


def test_check_exits_with_one_on_a_lie(tars: list[Path], tmp_path: Path) -> None:
    from tests.fixtures.tables import chosen, rewrite

    assert run("index", *tars, "-o", tmp_path, *OPTIONS).exit_code == 0

    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        chosen(rows, layer="first", unit=2, side="high", rank=3)["activation"] -= 0.125
        return rows

    rewrite(tmp_path, "top", change)
    result = run("check", tmp_path)
    assert result.exit_code == 1
    assert re.search(
        r"first unit 2 image \d+: top side high rank 3: activation .*, by the parts", result.stdout
    )
    assert re.search(r"first unit 2 image \d+: high peak .*, now", result.stdout)
    assert re.search(r"\n\d discrepancies found\n$", result.stdout)
    result = run("check", tmp_path, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert {(row["layer"], row["unit"]) for row in found} == {("first", 2)}
    assert "discrepancies found" in result.stderr


def test_check_prints_a_few_of_many(tars: list[Path], tmp_path: Path) -> None:
    from tests.fixtures.tables import rewrite

    assert run("index", *tars, "-o", tmp_path, *OPTIONS).exit_code == 0
    rewrite(tmp_path, "units", lambda rows: [{**row, "p90": row["max"]} for row in rows])
    result = run("check", tmp_path)
    assert result.exit_code == 1
    *shown, more = [line for line in result.stdout.splitlines() if re.match(r"first|second|\.\.\.", line)]
    assert len(shown) == 10
    assert re.fullmatch(r"\.\.\. and \d+ more", more)


@pytest.mark.parametrize("text", ["{}", "[]", '{"schema_version": 99}', '{"schema_version": 1}', "{"])
def test_a_run_file_that_makes_no_sense_is_named(tars: list[Path], tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    line = refused(run("index", *tars, "-o", tmp_path, *OPTIONS))
    assert str(tmp_path) in line
    result = run("index", *tars, "-o", tmp_path, *OPTIONS, "--fresh")
    if "schema_version" in text:
        assert result.exit_code == 0
    else:
        assert "run.json was not written by maxact" in refused(result)
        assert (tmp_path / "run.json").read_text() == text


SLOW = """
import pathlib, signal, sys, time
# A shell's background job, and what it starts, ignores the signal.
signal.signal(signal.SIGINT, signal.default_int_handler)
from pipeline.stream.loop import Runner
run = Runner.run
def wait(self, *arguments):
    # However slow the test is to send the signal, the run is not over.
    if list(pathlib.Path(sys.argv[sys.argv.index("-o") + 1]).glob("parts/*.json")):
        time.sleep(30)
    run(self, *arguments)
Runner.run = wait
from viz.cli import main
sys.argv[0] = "maxact"
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_in_a_real_process_ends_in_130_and_the_next_run_goes_on(tmp_path: Path) -> None:
    tars = write_tars(tmp_path / "data", [40] * 4)
    words = ["index", *map(str, tars), "-o", str(tmp_path / "out"), *OPTIONS, "--batch-size", "8"]
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "out" / "parts").glob("*.json")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.splitlines()[-1].startswith("stopped; finished work is kept")
    assert "Traceback" not in stderr
    result = run(*words)
    assert result.exit_code == 0
    assert re.search(r"resuming: skipping [123] of 4 shards", result.stderr)
    assert "160 images" in result.stdout


def test_class_names_that_cannot_be_read(tars: list[Path], tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text("[1]")
    result = run("index", *tars, "-o", tmp_path / "out", *OPTIONS, "--class-names", tmp_path / "names.json")
    assert "names.json: found a list with int; expected a text file" in refused(result, 2)
    assert not (tmp_path / "out").exists()
