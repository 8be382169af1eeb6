"""Files with the names of classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.networks.class_names import read_class_names

NAMES = ("tench", "pizza, pie", "crane")

FORMS = {
    "names.txt": "tench\npizza, pie\r\ncrane\n\n",
    "names": "\ufefftench\n pizza, pie \ncrane",
    "list.json": json.dumps(NAMES),
    "by_number.json": json.dumps({"2": "crane", "0": "tench", "1": "pizza, pie"}),
    "by_name.json": json.dumps({"crane": 2, "tench": 0, "pizza, pie": 1}),
    "keras.json": json.dumps({"0": ["n1", "tench"], "1": ["n2", "pizza, pie"], "2": ["n3", "crane"]}),
    "titles.csv": 'id,name\n1,"pizza, pie"\n0,tench\n2,crane\n',
    "swapped.csv": 'tench,0\n"pizza, pie",1\ncrane,2\n',
    "one.csv": 'tench\n"pizza, pie"\ncrane\n',
}

BAD = {
    "empty.txt": ("", "no names"),
    "hole.txt": ("a\n\nb", "class 1 has an empty name"),
    "bytes.txt": (b"\xff\xfe\x00", "cannot be read"),
    "damaged.json": ("[", "not JSON"),
    "numbers.json": ("[1, 2]", "found a list with int"),
    "number.json": ("3", "found no names"),
    "twice.json": (json.dumps({"a": 0, "b": 0}), "two names for class 0"),
    "from_one.json": (json.dumps({"1": "a", "2": "b"}), "2 names, but none for class 0"),
    "object.json": (json.dumps({"0": {"a": 1}}), "'0' is"),
    "words.csv": ("a,b\nc,d\n", "neither column is of numbers"),
    "wide.csv": ("0,a,b\n", r"lines of \[3\] columns"),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_names(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FORMS[name], encoding="utf-8")
    assert read_class_names(tmp_path / name) == NAMES


@pytest.mark.parametrize("name", BAD)
def test_other_files_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=message) as caught:
        read_class_names(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_class_names(tmp_path / "none.txt")
