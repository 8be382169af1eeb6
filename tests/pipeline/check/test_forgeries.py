"""Each forgery of `tests.fixtures.forgeries` is found, or docs/checking.md says that it is not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pipeline.check.audit import DEFAULT_SAMPLE, check_index
from pipeline.check.rebuild import check_commits, compare_with_parts
from pipeline.check.structure import check_counts, check_files, check_run
from pipeline.errors import MaxactError
from pipeline.progress import Silent
from pipeline.query.index import open_index
from pipeline.state.commit import list_commits
from pipeline.store.run_file import read_finished_run
from tests.fixtures.forgeries import FORGERIES, NO_PARTS, PARTS, SIZES, TABLES, build_index
from tests.fixtures.tiny import tiny_network

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "checking.md"


def _missed() -> dict[str, bool]:
    """The forgeries that the document says are missed by default, and whether `--all` finds them."""
    text = (
        DOCUMENT.read_text(encoding="utf-8").partition("<!-- missed -->")[2].partition("<!-- /missed -->")[0]
    )
    rows = re.findall(r"^\| `([^`]+)` \| (yes|no) \|", text, flags=re.MULTILINE)
    return {name: found == "yes" for name, found in rows}


MISSED = _missed()


@pytest.fixture(scope="module")
def true(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_index(tmp_path_factory.mktemp("forgeries"))


def is_refused(out: Path, sample: int | None) -> str:
    """What a check finds; empty if nothing."""
    try:
        audit = check_index(out, sample=sample, network=tiny_network())
    except MaxactError as error:
        return str(error)
    return "; ".join(map(str, audit.discrepancies))


def test_nothing_is_wrong_with_the_true_index(true: Path) -> None:
    assert sum(SIZES) > DEFAULT_SAMPLE
    assert is_refused(true, DEFAULT_SAMPLE) == ""
    assert is_refused(true, None) == ""


def test_the_document_names_forgeries_that_there_are() -> None:
    assert MISSED
    assert MISSED.keys() <= FORGERIES.keys()


def is_found_without_rules(out: Path) -> bool:
    """Whether the first steps of a check find something: files, run.json, and a merge of the parts."""
    run = read_finished_run(out)
    commits = list_commits(out / "parts", clear=False)
    steps = [check_files(out, run), check_run(run)]
    if not sum(step.total for step in steps):
        with open_index(out) as index:
            steps += [check_counts(index), check_commits(run, commits)]
    if not sum(step.total for step in steps):
        steps += compare_with_parts(out, run, commits, Silent())
    return any(step.total for step in steps)


@pytest.mark.parametrize("name", TABLES)
def test_a_forged_table_is_found_by_its_parts(true: Path, tmp_path: Path, name: str) -> None:
    """Without the rules, without the network, and in a third of the time of a check."""
    out = shutil.copytree(true, tmp_path / "out")
    TABLES[name](out)
    assert is_found_without_rules(out)


@pytest.mark.parametrize("name", [*PARTS, *NO_PARTS])
def test_a_forgery_that_fits_the_parts_is_found_or_said_to_be_missed(
    true: Path, tmp_path: Path, name: str
) -> None:
    out = shutil.copytree(true, tmp_path / "out")
    FORGERIES[name](out)
    found = is_refused(out, DEFAULT_SAMPLE)
    assert bool(found) != (name in MISSED), found
    if name in MISSED:
        assert bool(is_refused(out, None)) == MISSED[name]
