"""The documents are true: their code runs, and everything that exists is described in one of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline.networks.zoo import KNOWN
from pipeline.query.named_queries import load_query, query_names
from pipeline.store.schemas import DISSECTION, NAMES, RENDERS, SCHEMAS, THUMBNAILS
from tests.fixtures.tiny import Tiny, write_tars
from viz.cli import app
from viz.recipes.catalog import RECIPES, describe_recipe, get_recipe

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (".", "docs", "docs/gallery", "docs/howto", "docs/explanation", "bench", "examples")
DOCUMENTS = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
README_WORDS = 600
LISTS = ("howto", "explanation", "gallery")
TABLES = {**SCHEMAS, "names": NAMES, "renders": RENDERS, "thumbnails": THUMBNAILS, "dissection": DISSECTION}

STAND_INS = {
    'data="demo"': 'data="shards"',
    '"efficientnet_lite0"': '"tests.fixtures.tiny:factory"',
    '"blocks.4.2"': '"rectify"',
    'get_recipe("typical")': 'get_recipe("typical", {"steps": "4"})',
}
"""Replacements in the code blocks that make them run in seconds: dataset, network, layer, steps."""

OPTIONS = {
    "atlas": "atlas.md",
    "explain": "explain.md",
    "render": "rendering.md",
    "serve": "serve.md",
    "study": "study.md",
    "project": "rendering.md",
    "prior train": "rendering.md",
    "robust train": "rendering.md",
}
"""Where the options of a command are described, if not in docs/command-line.md."""

CLAUSES = {
    "no trailing space": re.compile(r"[ \t]+$", re.MULTILINE),
    "no machine's path": re.compile(r"(?<![\w.~])/(?:work|home|root|tmp|Users)/"),
}


def read_doc(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def has_python(path: Path) -> bool:
    """Whether a document has code to run here; `tests/docs/test_howto.py` runs the how-to pages."""
    return path.parent.name != "howto" and "```python" in path.read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@cache
def commands() -> dict[str, Any]:
    """Every command by name; those of a group as `prior train`."""
    group: Any = typer.main.get_command(app)
    found = {}
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        found |= {f"{name} {each}": inner[each] for each in inner} if inner else {name: command}
    return found


def split_name(words: list[str]) -> tuple[str, list[str]]:
    """The command's name, of one or two words, and its arguments."""
    both = " ".join(words[:2])
    return (both, words[2:]) if both in commands() else (words[0], words[1:])


def written_commands(documents: Sequence[Path] = DOCUMENTS) -> Iterator[tuple[str, list[str]]]:
    """Every `maxact NAME ...` line of the documents' shell blocks."""
    for path in documents:
        for block in blocks(path.read_text(encoding="utf-8"), "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0] == "maxact":
                    yield f"{name_of(path)}: {line.strip()}", words[1:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    write_tars(folder / "shards", [10, 8])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in DOCUMENTS if has_python(path)], ids=name_of)
def test_the_python_of_a_document_runs(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The blocks of a document run one after another, as a reader would type them."""
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"my_module": Tiny()}
    for number, block in enumerate(blocks(path.read_text(encoding="utf-8"), "python"), start=1):
        for words, stand_in in STAND_INS.items():
            block = block.replace(words, stand_in)
        exec(compile(block, f"{path.name}, block {number}", "exec"), names)
    if path.name == "README.md":
        shown = capsys.readouterr().out
        assert "Box(" in shown
        assert "'unit': 3" in shown
        assert [*(folder / "out/demo/sheets").glob("rectify-typical-*.png")]


def test_the_stand_ins_are_for_what_the_readme_says() -> None:
    code = "\n".join(blocks(README, "python"))
    assert all(words in code for words in STAND_INS)


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_has_an_example_and_explains_itself(name: str) -> None:
    examples = written_commands([ROOT / "docs/command-line.md"])
    assert name in {split_name(words)[0] for _, words in examples}
    about = commands()[name].help
    assert about
    assert f"maxact {name}" in about, "its help has no example"


@pytest.mark.parametrize(
    "words", [words for _, words in written_commands()], ids=[at for at, _ in written_commands()]
)
def test_a_written_command_is_one_that_parses(words: list[str]) -> None:
    name, arguments = split_name(words)
    context = commands()[name].make_context(name, arguments, resilient_parsing=False)
    assert context.args == []


@pytest.mark.parametrize("name", query_names())
def test_every_query_is_described_with_its_parameters(name: str) -> None:
    signature = load_query(name).signature
    parameters = f"`{signature}` |" if signature else "|"
    assert f"\n| `{name}` | {parameters}" in read_doc("queries.md")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_described(name: str) -> None:
    table = read_doc("rendering.md").partition("<!-- recipes -->")[2].partition("<!-- /recipes -->")[0]
    assert f"`{name}`" in table


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_option_is_described(name: str) -> None:
    written = set(re.findall(r"--?[a-z][a-z-]*", read_doc(OPTIONS.get(name, "command-line.md"))))
    options = {option.opts[0] for option in commands()[name].params}
    assert {option for option in options if option.startswith("-")} <= written


def test_options_set_in_the_documents_are_options_of_recipes() -> None:
    known = {key for recipe in RECIPES.values() for key, _, _ in describe_recipe(recipe)}
    for path in DOCUMENTS:
        set_there = set(re.findall(r"--set (\w+)=[^V]", path.read_text(encoding="utf-8")))
        assert set_there <= known, name_of(path)


def test_the_recipe_file_of_the_documents_is_read(tmp_path: Path) -> None:
    files = [block for path in DOCUMENTS for block in blocks(path.read_text(), "toml")]
    assert files
    for text in files:
        (tmp_path / "file.toml").write_text(text)
        recipe = get_recipe(str(tmp_path / "file.toml"))
        assert f'name = "{recipe.name}"' in text
        assert recipe not in RECIPES.values()


@pytest.mark.parametrize("name", KNOWN)
def test_every_network_of_our_own_is_described(name: str) -> None:
    assert f"`{name}`" in read_doc("networks.md")


@pytest.mark.parametrize("name", TABLES)
def test_every_table_and_column_is_described(name: str) -> None:
    text = read_doc("tables.md")
    (row,) = re.findall(rf"^\| `{name}` \| [^|]+ \| `([^`]+)` \|$", text, flags=re.MULTILINE)
    assert row.split() == TABLES[name].names
    section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", section, flags=re.MULTILINE)
    described = [column for row in rows for column in re.findall(r"`(\w+)`", row)]
    assert sorted(described) == sorted(TABLES[name].names)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        place = (path.parent / file).resolve() if file else path
        assert place.exists(), f"{target} is not there"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{target} has no heading"


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_make_targets_in_the_documents_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^    )make ([a-z][a-z-]*)", text, flags=re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_a_document_is_clean(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    for clause, pattern in CLAUSES.items():
        found = pattern.search(text)
        assert found is None, f"{clause}: {found and found[0]!r}"


def test_the_pictures_of_the_readme_are_small_enough_to_load() -> None:
    pictures = re.findall(r"^!\[[^]]+\]\(([^)]+)\)$", README, flags=re.MULTILINE)
    assert pictures == ["docs/images/sheet.webp", "docs/images/atlas.webp"]
    assert sum((ROOT / picture).stat().st_size for picture in pictures) <= 700 * 1024


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= README_WORDS


def test_the_readme_leads_to_every_document() -> None:
    """By way of the pages that list others."""
    found = {"README.md"}
    for page in ("README.md", "docs/index.md", *(f"docs/{part}/index.md" for part in LISTS)):
        assert page in found, f"{page} is not linked by the README or a list before it"
        folder = (ROOT / page).parent
        links = re.findall(r"\]\(([^)\s#]+\.md)\)", (ROOT / page).read_text(encoding="utf-8"))
        found |= {name_of((folder / link).resolve()) for link in links}
    assert {name_of(path) for path in DOCUMENTS} - found == set()


def test_the_functions_that_the_map_of_the_code_names_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w+)(?:\.(\w+))?`\s+\(`([\w/]+\.py)`\)", text)
    assert named
    for first, method, file in named:
        code = (ROOT / file).read_text(encoding="utf-8")
        for name in filter(None, (first, method)):
            assert re.search(rf"^ *(?:def|class) {name}\b", code, flags=re.MULTILINE), f"{file} has no {name}"
