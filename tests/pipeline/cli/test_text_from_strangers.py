"""Names and labels with control characters: no command prints one, and no two layers share a file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.progress import ConsoleReporter
from pipeline.visible import is_invisible
from tests.fixtures.commands import run
from tests.fixtures.hostile import LABEL, LAYERS, make_hostile
from tests.fixtures.small_index import build_index

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    return make_hostile(build_index(folder), folder / "hostile")


def invisible(text: str) -> set[str]:
    return {letter for letter in text if is_invisible(letter)} - {"\n"}


@pytest.mark.parametrize(
    "words",
    [
        ("top", "{out}", LAYERS["head"], "0"),
        ("top", "{out}", LAYERS["head"], "1", "--json"),
        ("top", "{out}", LAYERS["head"], "1", "--safe-csv"),
        ("query", "{out}", "layer_overview"),
        ("query", "{out}", "unit_card", f"layer={LAYERS['stem']}", "unit=1"),
        ("sql", "{out}", 'SELECT label AS "a\x1b[31m" FROM images'),
        ("sql", "{out}", 'SELECT 1 AS "a\x1b[31m", 2 b, 3 c, 4 d, 5 e, 6 f, 7 g, 8 h, 9 i'),
        ("sql", "{out}", "SELECT label FROM images LIMIT 3", "--json"),
        ("sheets", "{out}", "--units", "0"),
        # Mistakes, each with the text in the message.
        ("top", "{out}", "no\x1b[31m\u202elayer", "0"),
        ("top", "{out}", LAYERS["head"], "no\x1b[31m"),
        ("top", "{out}\x1b[31m", "a", "0"),
        ("query", "{out}", "label_units", "label=\u202ex"),
        ("sql", "{out}", "SELECT '\x1b[31m' FROM nothing_\x1b"),
        ("sheets", "{out}", "--recipe", "\x1b[2J"),
        ("render", "{out}", "--recipe", "\x1b[2J"),
        ("render", "{out}", "--objective", "\u202epoint"),
        ("recipes", "\x1b[2J"),
        ("networks", "\x1b[2J"),
        ("layers", "\x1b[2J"),
        ("layers", "\x1b[2J.py:make"),
        ("index", "\x1b[2J", "-o", "{out}/new"),
        ("merge", "{out}/new", "{out}\u202e"),
        ("check", "{out}\x9b"),
        ("project", "{out}", "--method", "\x1b[2J"),
        ("prior", "train", "{out}", "--layer", "\x1b[2J"),
        ("\x1b[2J",),
        ("top", "{out}", "--\x1b[2J"),
        ("index", "demo", "-o", "{out}/new", "--score", "\x1b[2J"),
    ],
)
def test_no_command_prints_a_control_character(out: Path, words: Sequence[str]) -> None:
    result = run(*(word.replace("{out}", str(out)) for word in words))
    assert result.stdout + result.stderr
    assert not invisible(result.stdout)
    assert not invisible(result.stderr)
    assert not isinstance(result.exception, Exception), "ended by typer.Exit"


def test_json_has_the_same_value(out: Path) -> None:
    rows = json.loads(run("sql", out, "SELECT DISTINCT label FROM images", "--json").stdout)
    assert LABEL in {row["label"] for row in rows}


def test_csv_keeps_bytes_and_safe_csv_none_that_acts(out: Path) -> None:
    select = (
        "SELECT label, '+1' a, '-x' b, '@SUM' c, chr(9) || '=1' d, chr(13) || '=1' e, -1 f, '=1' g, "
        "'  =1' h, '1-2' i, '-1.5e3' j, '\uff1d1' k, 'a' || chr(0) || 'b' l FROM images "
        "WHERE label LIKE '=%' LIMIT 1"
    )
    (plain,) = csv.DictReader(io.StringIO(run("sql", out, select, "--csv").stdout, newline=""))
    assert plain["label"] == LABEL
    assert plain["e"] == "\r=1"
    (safe,) = csv.DictReader(io.StringIO(run("sql", out, select, "--safe-csv").stdout, newline=""))
    assert safe.pop("label").startswith('\'=HYPERLINK("http://x")\\x1b]0;owned\\x07\\u202egnp')
    assert safe == {
        "a": "+1",
        "b": "'-x",
        "c": "'@SUM",
        "d": "\\t=1",
        "e": "\\r=1",
        "f": "-1",
        "g": "'=1",
        "h": "'  =1",
        "i": "1-2",
        "j": "-1.5e3",
        "k": "'\uff1d1",
        "l": "a\\x00b",
    }


def test_forms_exclude_each_other(out: Path) -> None:
    result = run("sql", out, "SELECT 1", "--csv", "--safe-csv")
    assert result.exit_code == 2
    assert result.stderr == "error: --csv and --safe-csv exclude each other; give only one\n"


def test_layers_that_differ_only_in_odd_letters_have_different_sheets(out: Path) -> None:
    result = run("sheets", out, "--units", "0")
    assert result.exit_code == 0, result.stderr
    files = result.stdout.splitlines()
    assert len(set(files)) == len(LAYERS)
    assert all(Path(file).is_file() for file in files)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_progress_shows_escapes_and_does_not_read_markup(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = stream()
    reporter = ConsoleReporter(shown)
    reporter.note("note \x1b]0;owned\x07 \u202e")
    with reporter.task("title \x1b]0;owned\x07 [/red]", 2, "images") as task:
        task.describe("shard \x1b]0;owned\x07 [/bold]")
        task.advance(2)
    text = shown.getvalue()
    assert r"note \x1b]0;owned\x07 \u202e" in text
    assert r"title \x1b]0;owned\x07 [/red]" in text
    assert r"shard \x1b]0;owned\x07 [/bold]" in text
    assert "\x07" not in text
