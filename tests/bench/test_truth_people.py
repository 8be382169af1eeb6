"""bench.truth: the answers of people, from a page's content to the tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.truth.__main__ import main
from bench.truth.people import read_answers
from bench.truth.people_tables import score_people
from tests.fixtures.study import answer_study, build_studied_index, random_answers, study_of, write_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("people")
    out = build_studied_index(folder)
    return study_of(write_study(out, folder / "page", references=("synthetic", "real", "real1", "none")))


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content))
    return path


def test_who_is_always_right_has_100_per_cent(
    study: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [write(tmp_path, str(n), answer_study(study, n, lambda: True)) for n in range(3)]
    main([*map(str, files), "--json", str(tmp_path / "scores.json")])
    table = capsys.readouterr().out
    assert "| real 1 | 1 | 3 | 9 | 100.0 ± 0.0 | - | 2.00 | 1.5 |" in table
    assert "| fourier | 1 | 3 | 9 | 100.0 ± 0.0 | +0.0 ± 0.0 | 2.00 | 1.5 |" in table
    assert "| none | 0 | 3 | 9 |" in table
    assert "| 2 | real 9 | 3 | 100.0 ± 0.0 | 2.00 | 1.5 | 1 of 1 |" in table
    assert table.count("all layers") == 1
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found["study"] == study["about"]
    assert all(set(row["correct"]) == {1.0} for row in found["rows"])


def test_who_is_always_wrong_has_nothing_and_a_unit_counts_once(
    study: dict[str, Any], tmp_path: Path
) -> None:
    files = [write(tmp_path, str(n), answer_study(study, n, lambda right=n == 0: right)) for n in range(4)]
    rows = score_people(read_answers(files))
    assert {row.explanation for row in rows} == {"fourier", "real 9", "real 1", "none"}
    assert all(set(row.correct) == {0.25} and row.answers == 12 for row in rows)
    assert {row.layer for row in rows} == {"first", "all layers"}


def test_who_guesses_is_right_half_of_the_time(study: dict[str, Any], tmp_path: Path) -> None:
    files = [write(tmp_path, str(n), answer_study(study, n, random_answers(n))) for n in range(48)]
    row = score_people(read_answers(files))[-1]
    assert sum(row.correct) / len(row.correct) == pytest.approx(0.5, abs=0.11)


def test_the_correct_answer_is_as_often_left_as_right_over_all_orders(study: dict[str, Any]) -> None:
    sides = [
        each["correct"]
        for order in range(len(study["orders"]))
        for each in answer_study(study, order, lambda: True)["answers"]
        if each["kind"] == "trial"
    ]
    assert sides.count("left") == sides.count("right")


def damaged(content: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    first, *rest = content["answers"]
    return {**content, "answers": [{**first, key: value}, *rest]}


def test_wrong_and_foreign_files_are_one_line(
    study: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = answer_study(study, 0, lambda: True)
    fine = write(tmp_path, "fine", right)
    last = right["answers"][-1]
    cases: list[tuple[object, str]] = [
        ([], "has no answers to a study"),
        ({"format": "maxact study"}, "has no answers to a study"),
        ({**right, "version": 2}, "is of version 2"),
        ({**right, "answers": []}, "no answered trials"),
        ({**right, "answers": [*right["answers"], last]}, "twice in one condition"),
        ({**right, "participant": 3}, "participant is 3"),
        ({**right, "answers": ["\x1b[31m"]}, "was damaged or edited"),
        (damaged(right, "answer", "middle"), "answer 1 has a value"),
        (damaged(right, "confidence", True), "confidence is True"),
        (damaged(right, "seconds", -1), "answer 1 has a value"),
        (damaged(right, "seconds", float("nan")), "answer 1 has a value"),
        (damaged(right, "condition", "octaves"), "answer 1 has a value"),
        (damaged(right, "unit", None), "unit is None"),
        (right, "has the same answers as"),
        ({**right, "participant": "9", "study": {**right["study"], "id": "other"}}, "another study"),
    ]
    for number, (content, message) in enumerate(cases):
        file = write(tmp_path, str(number), content)
        with pytest.raises(SystemExit) as caught:
            main([str(fine), str(file)])
        said = capsys.readouterr().err.removesuffix("\n")
        assert caught.value.code == 2
        assert message in said
        assert said.startswith(f"error: {file}")
        assert said.isprintable()
    (tmp_path / "text.json").write_text("{")
    for path, message in ((tmp_path / "text.json", "is no JSON"), (tmp_path / "gone.json", "cannot be read")):
        with pytest.raises(SystemExit):
            main([str(path)])
        assert message in capsys.readouterr().err


def test_participants_of_one_name_are_told_apart(
    study: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for number in range(2):
        answers = answer_study(study, number, lambda: True)
        files.append(write(tmp_path, f"file{number}", {**answers, "participant": "a|b\u202e"}))
    main([*map(str, files)])
    table = capsys.readouterr().out
    assert r"| a\|b\u202e (file0.json) | fourier |" in table
    assert r"(file1.json)" in table
