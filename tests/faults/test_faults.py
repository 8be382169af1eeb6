"""Disturbed commands leave what undisturbed ones leave, or end with one line and can be run again.

200 random cases, see `tests.faults.plan`; another seed is set with MAXACT_FAULT_SEED. `make soak` runs
many more. A case that fails is repeated with `python -m tests.faults.replay SEED`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator

import pytest
from PIL import Image

from tests.faults.faults import Fault
from tests.faults.harness import Harness, why_not
from tests.faults.judge import Judge
from tests.faults.plan import PAIRS, case_of
from tests.faults.replay import describe
from tests.faults.scenarios import RUN, Lab
from tests.faults.snapshot import differences, snapshot

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")]

SEED = int(os.environ.get("MAXACT_FAULT_SEED", "0"))
"""The first of the seeds."""

CASES = 200
CASES_PER_TEST = 10

QUICK_TESTS = 3
"""Of these tests, those that are not only run in CI."""


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    folder = tmp_path_factory.mktemp("faults")
    with Harness(folder / "harness") as harness:
        yield Judge(Lab(folder / "lab", harness))


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(first, marks=[pytest.mark.thorough] if number >= QUICK_TESTS else [])
        for number, first in enumerate(range(SEED, SEED + CASES, CASES_PER_TEST))
    ],
)
def test_random_faults(judge: Judge, first: int) -> None:
    print(f"seeds {first} to {first + CASES_PER_TEST - 1}")
    verdicts = [judge.judge(case_of(seed)) for seed in range(first, first + CASES_PER_TEST)]
    failed = [describe(verdict) for verdict in verdicts if verdict.violations]
    assert not failed, "\n".join(failed)


def test_the_cases_run_every_pair_of_commands() -> None:
    cases = map(case_of, range(SEED, SEED + CASES))
    assert {(case.state, case.command, case.second) for case in cases if case.second} == set(PAIRS)


def test_a_judge_finds_what_is_wrong(judge: Judge) -> None:
    """A command line that does something else when it is run again."""
    seed = next(
        seed for seed in range(1000) if (fault := case_of(seed).fault) is not None and fault.kind == "short"
    )
    case = case_of(seed)
    expected = judge.undisturbed(case.state, case.command)
    name = next(iter(expected.files), "run.json")
    original = expected.files.get(name)
    expected.files[name] = "other"
    try:
        assert f"after the fault: {name} has other content" in "\n".join(judge.judge(case).violations)
    finally:
        if original is not None:
            expected.files[name] = original


def test_ctrl_c_on_a_folder_of_few_photographs_keeps_what_was_committed(judge: Judge) -> None:
    lab = judge.lab
    photographs = lab.folder / "photographs"
    photographs.mkdir()
    for number in range(150):
        stream = io.BytesIO()
        Image.new("RGB", (20, 20), (number, 255 - number, 7 * number % 256)).save(stream, "PNG")
        (photographs / f"{number:03}.png").write_bytes(stream.getvalue())
    words = f"index {photographs} -o out {RUN}"
    lab.reset("empty")
    undisturbed = lab.run(words)
    expected = snapshot(lab.out)
    for moment in (0.3, 0.4, 0.5, 0.6):
        lab.reset("empty")
        fault = Fault("int", moment)
        run = lab.harness.run(words.split(), root=lab.here, fault=fault, calls=undisturbed.calls)
        committed = len(list(lab.out.glob("parts/*.json")))
        if 0 < committed < 3:
            break
    assert 0 < committed < 3
    assert run.code == 130
    assert run.stderr.splitlines()[-1].startswith("stopped; finished work is kept")
    again = lab.run(words)
    assert f"resuming: skipping {committed} of 3 shards" in again.stderr
    assert not differences(snapshot(lab.out), expected)
