"""File names of layers: ordinary ones as they are, all others different, safe and short."""

from __future__ import annotations

import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pipeline.file_names import MAX_BYTES, file_name

ODD = st.text(st.sampled_from("aA.b_/\\-~:*?\0\n é漢字\ud800\u202e~0"), max_size=6)
NAMES = st.one_of(
    st.text(st.characters(exclude_categories=())),
    ODD,
    st.sampled_from(["con", "AUX", "nul.x", "com1", "..", ".", "", "Mixed_5b", "x" * 300]),
)
ALLOWED = frozenset(string.ascii_letters + string.digits + "_.~-")
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


@pytest.mark.parametrize(
    "name",
    ["blocks.4.2", "classifier", "layer4", "inception4a", "mixed3a", "features.12", "blocks.4.2.directions"],
)
def test_ordinary_names_are_their_own(name: str) -> None:
    assert file_name(name) == name


def test_other_names_can_be_read() -> None:
    assert file_name("Mixed_5b").startswith("Mixed_5b~")
    assert file_name("Größe/2").startswith("Gro")
    assert file_name("aux.conv").startswith("_aux.conv~")
    assert file_name("my-recipe", dashes=True) == "my-recipe"
    assert file_name("my-recipe") != "my-recipe"


@given(NAMES, NAMES, st.booleans())
@example("Block", "block", False)
@example("a/b", "a_b", False)
@example("漢", "字", False)
@example("a~b", "a_b", False)
@example("x" * 300, "x" * 301, True)
def test_two_names_never_share_a_file(first: str, second: str, dashes: bool) -> None:
    assume(first != second)
    one, other = file_name(first, dashes=dashes), file_name(second, dashes=dashes)
    assert one.casefold() != other.casefold()


@given(NAMES)
def test_a_name_that_is_a_file_name_already_is_no_other_names_file(name: str) -> None:
    made = file_name(name)
    assert made == name or file_name(made) != made


@given(NAMES, st.booleans())
@example("COM1", False)
@example("aux.weights", False)
@example("../../etc/passwd", False)
def test_every_name_is_safe(name: str, dashes: bool) -> None:
    made = file_name(name, dashes=dashes)
    assert 0 < len(made) <= MAX_BYTES
    assert set(made) <= ALLOWED
    assert dashes or "-" not in made
    assert made[0] not in ".-~"
    assert made[-1] not in ".-~"
    assert made.partition(".")[0].casefold() not in RESERVED
