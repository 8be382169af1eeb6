from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pipeline.errors import MaxactError, UsageError
from pipeline.query.named_queries import query_names
from tests.fixtures.small_index import build_index
from viz.cli import app

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_index(tmp_path_factory.mktemp("small")))


def run(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def commands() -> Iterator[tuple[str, Any]]:
    group: Any = typer.main.get_command(app)
    yield from group.commands.items()


def test_help_lists_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(name in result.output for name, _ in commands())


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_every_command_has_a_sentence_and_an_example(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"maxact {name}" in result.output


def test_layers_keeps_receptive_fields_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAXACT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    first = run("layers", "tests.fixtures.tiny:factory")
    assert first.exit_code == 0
    (kept,) = (tmp_path / "cache/fields").iterdir()
    assert "rectify" in kept.read_text()
    assert not (tmp_path / "home").exists()
    assert run("layers", "tests.fixtures.tiny:factory").stdout == first.stdout


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_every_option_is_explained(name: str) -> None:
    command = dict(commands())[name]
    for option in command.params:
        assert getattr(option, "help", None), f"{name} {option.name} has no help"


OWN_MEANING = {
    "--out": "an index to be written, or a study",
    "--with": "the second index: to be searched, or to be drawn beside the first",
    "--network": "to be indexed, or that was",
    "--weights": "of a network to be indexed, of shapes to be listed, or moved since",
    "--layer": "one to be trained on, or any number",
    "--recipe": "to render by, or whose renderings to draw",
    "--steps": "of an optimisation, or of training",
    "--batch": "renderings, or images",
    "--batch-size": "images of a network, or patches of an encoder",
    "--top": "images kept, or shown",
    "--size": "of decoded images, or of crops",
    "--device": "one, or all GPUs of this machine as well",
    "--precision": "of the network, or of gradient ascent",
    "--method": "to find directions, or to project images",
}
"""Options that mean something else in another command."""


def test_an_option_that_several_commands_share_has_one_meaning() -> None:
    meanings: dict[str, set[str]] = {}
    for _, command in commands():
        for each in (command, *getattr(command, "commands", {}).values()):
            for option in each.params:
                if option.opts[0].startswith("--"):
                    meanings.setdefault(option.opts[0], set()).add(option.help)
    several = {name for name, helps in meanings.items() if len(helps) > 1}
    assert several == set(OWN_MEANING)


def test_starting_loads_no_heavy_package() -> None:
    """Which take most of a second and more: torch, and what reads tables and draws."""
    code = """
import sys
from viz.cli import app
try:
    app(["--help"])
finally:
    heavy = {"torch", "torchvision", "duckdb", "pyarrow", "numpy", "PIL", "starlette", "uvicorn"}
    print(*sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "Usage" in done.stdout
    assert done.stderr.split() == []


def test_top_as_table_json_and_csv(out: str) -> None:
    table = run("top", out, "blocks.1", "3", "-n", "4")
    assert table.exit_code == 0
    assert "rings/rings" in table.stdout
    rows = json.loads(run("top", out, "blocks.1", "3", "-n", "4", "--json").stdout)
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["box_left"] < rows[0]["box_right"]
    text = run("top", out, "blocks.1", "3", "-n", "4", "--csv").stdout
    records = list(csv.DictReader(io.StringIO(text)))
    assert [record["key"] for record in records] == [row["key"] for row in rows]


def test_top_by_class_name_and_from_below(out: str) -> None:
    by_name = run("top", out, "head", "rings", "--json").stdout
    assert by_name == run("top", out, "head", "3", "--json").stdout
    low = json.loads(run("top", out, "head", "3", "--low", "--json").stdout)
    assert low[0]["activation"] < json.loads(by_name)[0]["activation"]


def test_query_takes_its_parameters_as_words(out: str) -> None:
    rows = json.loads(run("query", out, "unit_card", "layer=head", "unit=2", "--json").stdout)
    assert rows[0]["top_label"] == "bars"
    card = run("query", out, "unit_card", "layer=head", "unit=2").stdout
    assert "selectivity" in card
    assert run("query", out, "dead_units").stdout.count("constant") == 2


def test_queries_are_listed_and_described() -> None:
    listed = json.loads(run("queries", "--json").stdout)
    assert [row["query"] for row in listed] == list(query_names())
    described = run("queries", "label_units").stdout
    assert "maxact query OUT label_units label=LABEL" in described
    assert "SELECT" in described


def test_sql_in_every_form(out: str) -> None:
    assert json.loads(run("sql", out, "SELECT 1 AS one", "--json").stdout) == [{"one": 1}]
    assert run("sql", out, "SELECT NULL AS a, 'b,c' AS d", "--csv").stdout == 'a,d\n,"b,c"\n'
    assert run("sql", out, "SELECT 1 AS a WHERE false").stdout == "no rows\n"
    assert run("sql", out, "SELECT 1 AS a WHERE false", "--json").stdout == "[]\n"
    odd = "SELECT [1, 2] AS a, {'b': 'NaN'::DOUBLE} AS c, DATE '2026-01-02' AS d, 'e\x1b[31m' AS e"
    assert json.loads(run("sql", out, odd, "--json").stdout) == [
        {"a": [1, 2], "c": {"b": None}, "d": "2026-01-02", "e": "e\x1b[31m"}
    ]
    assert "\x1b" not in run("sql", out, odd).stdout


def test_lines_of_a_table_do_not_end_in_spaces(out: str) -> None:
    assert not any(line.endswith(" ") for line in run("queries").stdout.splitlines())


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("top", "{out}", "block.1", "3"), 2, "did you mean 'blocks.1'"),
        (("top", "{out}", "blocks.1", "12"), 2, "blocks.1 has 12 units, numbered 0-11; got 12"),
        (("top", "{out}", "blocks.1", "3-5"), 2, "names 3 units of blocks.1; give one"),
        (("top", "{out}", "blocks.1", "x"), 2, "written like 0-23,40"),
        (("top", "{out}", "head", "rigns"), 2, "did you mean 'rings'"),
        (("top", "{out}/nowhere", "a", "0"), 2, "does not exist"),
        (("query", "{out}", "unit_cart"), 2, "did you mean 'unit_card'"),
        (("query", "{out}", "unit_card", "layer"), 2, "maxact query takes KEY=VALUE, got 'layer'"),
        (("query", "{out}", "unit_card", "layer=a", "layer=b"), 2, "given twice"),
        (("query", "{out}", "unit_card", "layer=head"), 2, "needs unit; add unit=..."),
        (("query", "{out}", "unit_card", "layr=head"), 2, "did you mean 'layer'"),
        (("queries", "nothing_near"), 2, "no query is called"),
        (("sql", "{out}", "SELEC 1"), 2, "syntax error"),
        (("sql", "{out}", "SELECT 1", "--json", "--csv"), 2, "--json and --csv exclude"),
        (("sheets", "{out}", "--layer", "blokcs.1"), 2, "did you mean 'blocks.1'"),
        (("sheets", "{out}", "--layer", "stem", "--units", "5-2"), 2, "runs backwards"),
        (("sheets", "{out}", "--layer", "stem", "--page-units", "500"), 2, "1 to 120 units"),
        (("sheets", "{out}", "--layer", "stem", "--recipe", "fourier"), 2, "maxact render"),
    ],
)
def test_bad_input_is_one_line_and_no_traceback(
    out: str, words: tuple[str, ...], code: int, message: str
) -> None:
    result = run(*(word.replace("{out}", out) for word in words))
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_wrong_options_exit_with_two(out: str) -> None:
    assert run("top", out).exit_code == 2
    assert run("tpo").exit_code == 2


def test_sheets_print_the_files_they_wrote(out: str) -> None:
    result = run("sheets", out, "--layer", "head", "--units", "rings,0-1", "--pdf")
    assert result.exit_code == 0
    files = [Path(line) for line in result.stdout.splitlines()]
    assert [file.suffix for file in files] == [".png", ".pdf"]
    assert all(file.is_file() for file in files)
    assert "sheets of head" in result.stderr


def test_sheets_of_several_layers_take_the_units_that_each_has(out: str) -> None:
    result = run("sheets", out, "--layer", "blocks.*", "--layer", "stem", "--units", "4-8")
    assert [Path(line).name for line in result.stdout.splitlines()] == [
        "stem-real-0004-0005.png",
        "blocks.1-real-0004-0008.png",
    ]
    result = run("sheets", out, "--units", "50")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "none of stem, blocks.1, head has units 50" in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MaxactError("no"), 1, "error: no\n"),
        (UsageError("no"), 2, "error: no\n"),
        (KeyboardInterrupt(), 130, "run the same command again to continue"),
    ],
)
def test_errors_and_ctrl_c_end_in_a_line_and_a_code(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, words: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("pipeline.query.index.open_index", fail)
    result = run("sql", "somewhere", "SELECT 1")
    assert result.exit_code == code
    assert words in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_reader_that_leaves_is_no_error(out: str) -> None:
    words = [sys.executable, "-m", "viz", "sql", out, "SELECT * FROM range(200000)", "--csv"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) in (0, 1, -signal.SIGPIPE)


def test_nobody_who_reads_a_help_is_no_error() -> None:
    words = [sys.executable, "-m", "viz", "explain", "--help"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) in (0, 1, -signal.SIGPIPE)


def test_no_word_at_all_is_answered_with_the_help() -> None:
    for words in ((), ("prior",), ("robust",)):
        result = run(*words)
        assert "Usage: " in result.output
        assert "error" not in result.stderr


def test_a_recipe_is_described_option_by_option() -> None:
    lines = run("recipes", "fourier").stdout.splitlines()
    assert "steps=128                    gradient steps; Lucid's neuron recipe has 128" in lines[3]
    assert all("=" in line and len(line.split(maxsplit=1)) == 2 for line in lines)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("find", "{out}", "dog", "--device", "cpu"), "--device is for an encoder; give --encoder as well"),
        (("find", "{out}", "!"), "TEXT must have a word"),
        (("sheets", "{out}", "--weights", "x.pth"), "are used by --spotlight only; add it or leave them out"),
        (("sheets", "{out}", "--network", "x"), "are used by --spotlight only; add it or leave them out"),
        (("atlas", "{out}", "--export", "rar", "a.rar"), "rar"),
    ],
)
def test_options_that_nothing_uses_are_refused(out: str, words: tuple[str, ...], said: str) -> None:
    result = run(*(word.format(out=out) for word in words))
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_second_index_of_a_query_may_be_an_address(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("pipeline.cli.asking.index_folder", lambda text: asked.append(text) or Path(text))
    result = run("query", out, "compare", "layer=stem", "other_layer=stem", f"other={out}", "--json")
    assert result.exit_code == 0, result.output
    assert asked == [out]
    assert len(json.loads(result.stdout)) == 6


def test_the_version_is_printed() -> None:
    assert run("--version").stdout.startswith("maxact")


@pytest.mark.parametrize("module", ["pipeline", "viz", "maxact"])
def test_the_packages_run_as_modules(module: str) -> None:
    process = subprocess.run(
        [sys.executable, "-m", module, "queries", "--csv"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((".", "viz/public"))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "unit_card" in process.stdout
