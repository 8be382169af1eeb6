"""Each forgery of `tests.fixtures.forgeries` is found, or docs/checking.md says that it is not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pipeline.check.audit import DEFAULT_SAMPLE, check_index
from pipeline.errors import MaxactError
from tests.fixtures.forgeries import FORGERIES, SIZES, build_index
from tests.fixtures.tiny import tiny_network

pytestmark = pytest.mark.slow

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "checking.md"


def _missed() -> dict[str, bool]:
    """The forgeries that the document says are missed by default, and whether `--all` finds them."""
    text = DOCUMENT.read_text(encoding="utf-8").partition("<!-- missed -->")[2].partition("<!-- /missed -->")[0]
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


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_found_or_said_to_be_missed(true: Path, tmp_path: Path, name: str) -> None:
    out = shutil.copytree(true, tmp_path / "out")
    FORGERIES[name](out)
    # What the tables alone show is found whatever is run again, and in half the time.
    found = is_refused(out, 0) or is_refused(out, DEFAULT_SAMPLE)
    assert bool(found) != (name in MISSED), found
    if name in MISSED:
        assert bool(is_refused(out, None)) == MISSED[name]
