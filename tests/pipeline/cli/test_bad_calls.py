"""Every command with each of its parameters wrong: exit code 2, one line, no traceback, nothing written.

The cases are made from the Typer app, so that a new command or option is covered by itself; what
makes a call of it right, and which values are right though odd, is declared here where a name
does not say so.
"""

from __future__ import annotations

import hashlib
import os
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from pipeline.config import RunConfig
from pipeline.runs.run import run_index
from tests.fixtures.tiny import picture, write_tars
from viz.cli import app

Command = tuple[str, ...]
Words = list[str]

NETWORK = "tests.fixtures.convnets:factory"
LONG = "x" * 5000

RIGHT: dict[str, str] = {
    "out": "{index}",
    "data": "{data}",
    "layer": "late",
    "unit": "0",
    "network": NETWORK,
    "name": "layer_overview",
    "text": "SELECT 1",
    "sources": "{index}",
    "photographs": "{photo}",
    "outs": "{index}",
    "terms": "late:0=1",
    "masks": "{masks}",
    "folder": "page",
}
"""A right value of a required parameter, by its name."""

NEW_OUT: dict[Command, str] = {("index",): "out", ("merge",): "out"}
"""Commands whose OUT is a new folder."""

QUICK = ["--layers", "late", "--compile", "off", "--top", "16", "--keep", "peaks"]

ALSO: dict[Command, Words] = {
    ("index",): ["--network", NETWORK, *QUICK],
    ("render",): ["--layer", "late", "--units", "0", "--recipe", "fourier", "--set", "steps=2"],
    ("project",): ["--layer", "late", "--units", "0"],
    ("sheets",): ["--layer", "late", "--units", "0"],
    ("prior", "train"): ["--steps", "1", "--size", "16"],
    ("robust", "train"): ["--steps", "1", "--size", "32", "--batch", "2"],
    ("layers",): [NETWORK],
    ("directions",): ["-n", "2", "--output", "directions.safetensors"],
    ("serve",): ["--port", "0"],
    ("study",): ["--layer", "late", "--units", "0", "--reference", "real"],
}
"""Options that make a right call quick, or right."""

HARMLESS: dict[tuple[str, str], tuple[str, ...]] = {
    ("sql", "text"): ("1.5",),
    ("find", "words"): ("no such \x1b[31m\u202e", "{missing}", "-1", "1.5", LONG),
    ("index", "--out"): ("{missing}", "{folder}", LONG),
    ("merge", "out"): ("{missing}", "{folder}"),
    ("top", "--save"): ("{missing}", "{folder}"),
    ("index", "--classes"): ("99999",),
    ("top", "--where"): ("-1", "1.5"),
    ("sum", "--where"): ("-1", "1.5"),
    ("serve", "--allow-host"): ("1.5",),
    ("study", "--out"): ("{missing}", "{folder}"),
}
"""Values among those that are tried which are right for a parameter."""

ENDLESS: tuple[Command, ...] = (("serve",),)
"""Commands of which a right call ends by a signal only; `tests/viz/server/test_run.py` makes some."""

EXCLUSIVE = (("--json", "--csv"), ("--json", "--safe-csv"), ("--csv", "--safe-csv"))
"""Flags that exclude each other, in every command that has both."""

CONFLICTS: dict[Command, tuple[tuple[str, str], ...]] = {
    ("render",): (
        ("--photo {photo}", "recipe typical takes no photograph"),
        ("--photo {photo} --recipe fourier", "use --recipe dream"),
        ("--recipe dream", "starts from a photograph; give --photo"),
        ("--recipe dream --photo {missing}", "No such file"),
        ("--recipe dream --photo {folder}", "Is a directory"),
        ("--generator {file}", "takes no generator, so that --generator would be ignored"),
        ("--generator-code 4x4", "takes no generator"),
        ("--recipe prior --generator-code 4x4", "need --generator"),
        ("--recipe prior --generator-weights {file}", "need --generator"),
        ("--recipe prior", "needs one generator"),
        ("--recipe robust", "there is no robust copy of the network at"),
        ("--recipe typical --robust-copy {file}", "takes no robust copy"),
        ("--steps 3 --set steps=3", "steps is given twice"),
        ("--patience 3 --set patience=4", "patience is given twice"),
        ("--recipe typical --objective energy", "typical"),
        ("--set nothing=1", "has no option 'nothing'"),
        ("--set steps=fast", "got 'fast'"),
        ("--set steps=99999999999999999999", "got '99999999999999999999'"),
        ("--recipe fourier --set rate=inf", "got 'inf'"),
    ),
    ("study",): (
        ("--reference reel", "has no word 'reel'; did you mean"),
        ("--reference real,real", "names real twice"),
        ("--reference real,none --trials 3", "give a multiple of 2"),
        ("--reference synthetic", "have no rendering of recipe typical"),
        ("--out {index}/page", "lies in the index"),
        ("--queries {folder}", "run.json is missing"),
    ),
    ("serve",): (
        ("--timeout 0", "time limit of SQL"),
        ("--allow-host a/b", "takes a name such as"),
    ),
    ("index",): (
        ("--input size=0", "must be a whole number of pixels, got '0'"),
        ("--input colour=red", "got 'colour'"),
        ("--directions late={file}", "unknown extension '.txt'"),
        ("--kind tokens", "can be of kind tokens"),
        ("--layers late --layers nowhere", "no layer matches 'nowhere'"),
    ),
}
"""Words that make a right call wrong by what they mean together, and what is said of them."""


def commands() -> Iterator[tuple[Command, Any]]:
    """Name and Click's command of everything that can be called."""

    def walk(command: Any, path: Command) -> Iterator[tuple[Command, Any]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield path, command
        for name, each in (inner or {}).items():
            yield from walk(each, (*path, name))

    yield from walk(typer.main.get_command(app), ())


COMMANDS = dict(commands())
PARAMETERS = [(path, each.name) for path, command in COMMANDS.items() for each in command.params]


def parameter(path: Command, name: str) -> Any:
    return next(each for each in COMMANDS[path].params if each.name == name)


def is_option(param: Any) -> bool:
    return param.param_type_name == "option"


def annotation(param: Any) -> Any:
    """The type of one value: `int | None` is int, `list[str]` is str."""
    found = param.type_descriptor.annotation
    while typing.get_origin(found) in (types.UnionType, typing.Union, list):
        found = next(each for each in typing.get_args(found) if each is not type(None))
    return found


def wrong_values(path: Command, param: Any) -> list[str]:
    """Values that cannot be right for a parameter of its type, less those declared as harmless."""
    kind = annotation(param)
    if kind is int:
        values = ["", "x", "1.5", "nan", "1e3", "9" * 30, f"-{'9' * 30}"]
        values += [str(int(param.min) - 1)] if param.min is not None else []
    elif kind is float:
        values = ["", "x", "nan", "inf", "-1e300"]
    elif typing.get_origin(kind) is Literal:
        values = ["", "no-such-word", typing.get_args(kind)[0].upper()]
    elif kind is Path:
        values = ["", "{missing}", "{folder}", "{file}", LONG]
    else:
        values = ["", "no such \x1b[31m\u202e", "{missing}", "-1", "1.5", LONG]
    name = param.opts[0]
    harmless = HARMLESS.get((path[-1], name), ())
    return [value for value in values if value not in harmless]


def right_words(path: Command, *, without: str = "", instead: Sequence[str] = ()) -> Words:
    """A right call, with some words in the place of a parameter, or without one."""
    words, arguments = list(path), []
    for param in COMMANDS[path].params:
        if param.name == without:
            (words if is_option(param) else arguments).extend(instead)
        elif param.required or (path, param.name) == (("layers",), "network"):
            value = "{new}" if NEW_OUT.get(path) == param.name else RIGHT.get(param.name, "x")
            value = "{index}" if path == ("merge",) and param.name == "sources" else value
            (words if is_option(param) else arguments).extend(
                [param.opts[0], value] if is_option(param) else [value]
            )
    also = [each for each in ALSO.get(path, ()) if path != ("layers",)]
    chosen = parameter(path, without).opts[0] if without else ""
    if chosen in also:
        at = also.index(chosen)
        also = also[:at] + also[at + 2 :]
    return [*words, *also, "--", *arguments] if arguments else [*words, *also]


class Place:
    """A folder with an index, data and other files, which no wrong call may change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = {name: str(root / name) for name in ("index", "missing", "new", "folder", "masks")}
        self.names |= {"file": str(root / "text.txt"), "photo": str(root / "photo.png")}
        (root / "folder").mkdir()
        (root / "text.txt").write_text("text")
        tars = write_tars(root / "data", [24])
        self.names["data"] = str(tars[0])
        (root / "photo.png").write_bytes(picture(3, 60))
        run_index(
            RunConfig(
                data=tuple(map(str, tars)),
                out=root / "index",
                network=NETWORK,
                layers=("late",),
                top=16,
                compile="off",
                keep="peaks",
            )
        )
        (root / "masks").mkdir()
        (root / "masks" / "names.csv").write_text("1,thing\n")
        for number in range(24):
            Image.new("L", (20, 20), 1).save(root / "masks" / f"{number:05}.png")

    def listing(self) -> dict[str, str]:
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            for path in sorted(self.root.rglob("*"))
            if "cache" not in path.parts
        }

    def fill(self, words: Sequence[str]) -> Words:
        filled = []
        for word in words:
            for name, path in self.names.items():
                word = word.replace(f"{{{name}}}", path)
            filled.append(word)
        return filled


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("calls")
    before = Path.cwd()
    made = Place(root)
    os.chdir(root)
    environment = os.environ.get("MAXACT_CACHE")
    os.environ["MAXACT_CACHE"] = str(root / "cache")
    with patch("uvicorn.Server.run", side_effect=AssertionError("the call was not refused")):
        yield made
    os.chdir(before)
    del os.environ["MAXACT_CACHE"]
    if environment is not None:
        os.environ["MAXACT_CACHE"] = environment


def refused(place: Place, words: Sequence[str], message: str = "") -> list[str]:
    """What is wrong with the refusal of a wrong call; nothing if it is as it must be."""
    given, before = place.fill(words), place.listing()
    result = CliRunner().invoke(app, given)
    lines = [line for line in result.stderr.splitlines() if line.lower().startswith("error")]
    faults = []
    if result.exit_code != 2:
        faults.append(f"exit code {result.exit_code}")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        faults.append(f"raised {result.exception!r}")
    if len(lines) != 1 or result.stderr.splitlines()[-1:] != lines or message not in lines[0]:
        faults.append(f"printed {result.stderr[-300:]!r}")
    if result.stdout:
        faults.append(f"printed on standard output {result.stdout[:100]!r}")
    now = place.listing()
    if now != before:
        changed = sorted(path for path in {*now, *before} if now.get(path) != before.get(path))
        faults.append(f"changed {', '.join(changed[:5])}")
    shown = " ".join(each if len(each) < 80 else f"{each[:20]}..." for each in given)
    return [f"maxact {shown}: {fault}" for fault in faults]


def refuse_all(place: Place, calls: Sequence[Sequence[str]]) -> None:
    faults = [fault for words in calls for fault in refused(place, words)]
    assert not faults, "\n".join(faults)


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize(("path", "name"), PARAMETERS, ids=lambda each: "".join(each))
def test_a_wrong_value_is_refused(place: Place, path: Command, name: str) -> None:
    param = parameter(path, name)
    if annotation(param) is bool:
        calls = [right_words(path, without=name, instead=[f"{param.opts[0]}=x"])]
    elif is_option(param):
        values = wrong_values(path, param)
        calls = [right_words(path, without=name, instead=[param.opts[0], value]) for value in values]
        calls.append([*path, param.opts[0]])
    else:
        calls = [right_words(path, without=name, instead=[value]) for value in wrong_values(path, param)]
        if param.required:
            calls.append(right_words(path, without=name))
    refuse_all(place, calls)


@pytest.mark.parametrize("path", COMMANDS, ids="".join)
def test_wrong_combinations_are_refused(place: Place, path: Command) -> None:
    options = {option for param in COMMANDS[path].params for option in param.opts}
    right = right_words(path)
    at = len(path)
    calls = [[*right[:at], *pair, *right[at:]] for pair in EXCLUSIVE if {*pair} <= options]
    calls += [[*right[:at], "--no-such-option", *right[at:]]]
    if all(param.nargs == 1 for param in COMMANDS[path].params):
        calls.append([*right, "one", "too", "many"])
    refuse_all(place, calls)


@pytest.mark.parametrize(
    ("path", "words", "message"), [(path, *case) for path, cases in CONFLICTS.items() for case in cases]
)
def test_conflicts_are_refused_by_name(place: Place, path: Command, words: str, message: str) -> None:
    right = right_words(path)
    at = len(path)
    base = [each for each in right[at:] if each not in ("--recipe", "fourier", "--set", "steps=2")]
    where = base.index("--")
    assert not refused(place, [*path, *base[:where], *words.split(), *base[where:]], message)


def test_a_word_that_is_no_command_is_refused(place: Place) -> None:
    refuse_all(place, [["no-such"], ["--no-such"], [""], ["prior", "no-such"], ["prior", "--no-such"]])


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in COMMANDS if path not in ENDLESS], ids="".join)
def test_the_call_that_the_others_are_made_from_is_right(place: Place, path: Command) -> None:
    result = CliRunner().invoke(app, place.fill(right_words(path)))
    assert result.exit_code == 0, result.stderr
