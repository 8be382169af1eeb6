"""Mutated input of every kind is read or refused with one of maxact's errors: no other, and in time.

`make fuzz` feeds far more of it, with a limit of memory; see `tests/fuzz/long_run.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ShardError
from tests.fixtures.corpus import PNG, named, tar
from tests.fuzz.mutation import mutated, odd_json
from tests.fuzz.targets import BINARY, TEXT, check

pytestmark = pytest.mark.slow

EXAMPLES = 60
FOUND = Path(__file__).parent / "found"
"""Inputs that were neither read nor refused once, named TARGET-REASON."""

QUIET = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.filterwarnings("ignore")  # Pillow and torch warn of what they read
@pytest.mark.parametrize("name", BINARY)
def test_mutated_files(name: str) -> None:
    target = BINARY[name]

    @QUIET
    @given(mutated(target.seeds()))
    def read(data: bytes) -> None:
        check(target, data)

    read()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BINARY)
def test_valid_files_and_any_bytes(name: str) -> None:
    target = BINARY[name]
    for data in target.seeds():
        check(target, data)

    @QUIET
    @given(st.binary(max_size=3000))
    def read(data: bytes) -> None:
        check(target, data)

    read()


@pytest.mark.parametrize("name", TEXT)
def test_mutated_texts(name: str) -> None:
    target = TEXT[name]

    @QUIET
    @given(st.one_of(mutated(target.seeds()), st.text(max_size=40)))
    def read(text: str) -> None:
        check(target, text)

    read()


def test_run_files_with_odd_values() -> None:
    target = TEXT["run.json"]
    content = json.loads(target.seeds()[0])

    @QUIET
    @given(odd_json(content))
    def read(value: Any) -> None:
        check(target, json.dumps(value))

    read()


@QUIET
@given(
    st.recursive(
        st.one_of(st.none(), st.integers(), st.text(st.characters(), max_size=5), st.just("\ud800")),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(["label", "class", "cls", "origin", "x"]), inner, max_size=4),
        ),
    )
)
def test_any_json_beside_an_image(notes: Any) -> None:
    members = [*named("a"), ("a.json", json.dumps(notes).encode()), *named("b", "cat")]
    check(BINARY["tar"], tar(members))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", sorted(FOUND.iterdir()), ids=lambda path: path.name)
def test_inputs_that_were_faults_once(path: Path) -> None:
    name = path.name.partition("-")[0]
    data = path.read_bytes()
    if name in BINARY:
        check(BINARY[name], data)
    else:
        check(TEXT[name], data.decode("utf-8", "surrogatepass"))


def test_a_fault_is_noticed() -> None:
    """Of the harness itself: an exception that is not ours passes through `check`."""
    from tests.fuzz.targets import Target

    def broken(data: bytes) -> None:
        raise ShardError("a", "b") if data == PNG else KeyError("a fault")

    check(Target(list, broken), PNG)
    with pytest.raises(KeyError):
        check(Target(list, broken), b"")


@pytest.mark.thorough
def test_many_mutants_within_a_gigabyte() -> None:
    """Each reader for a third of a second, in a process with a limit of memory."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.long_run", "--seconds", "4", "--seed", "0"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        timeout=300,
    )
    assert process.returncode == 0, process.stdout + process.stderr
