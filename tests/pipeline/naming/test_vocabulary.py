"""Vocabularies that can be read, and one line for those that cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.naming import vocabulary
from pipeline.naming.vocabulary import MAX_WORDS, label_vocabulary, read_vocabulary


def test_words_are_lines_and_count_once(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeffred\n\n  big   cat \r\nred\nRed\n", encoding="utf-8")
    found = read_vocabulary(path)
    assert found.words == ("red", "big cat", "Red")
    assert found.repeated == 1


def test_wordnet_has_the_nouns_over_imagenet() -> None:
    words = read_vocabulary("wordnet").words
    assert {"tiger", "big cat", "entity"} <= {*words}
    assert len(words) == len({*words}) > 1_500


def test_labels_are_written_in_words() -> None:
    assert label_vocabulary(["brick_pattern", "dots"], "out").words == ("brick pattern", "dots")
    with pytest.raises(UsageError, match="have no labels to name units by; give --vocabulary FILE"):
        label_vocabulary([], "out")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty; words are compared"),
        (b" \n\n", "is empty"),
        (b"red\nred\n", "has one word, 'red'"),
        (b"\x89PNG\r\n\x1a\n\xff\x00", "is not UTF-8"),
        (b"red\ngre\x00en\n", "line 2 has control characters"),
        (b"red\n" + b"x" * 201 + b"\n", "has a line of 201 letters, 'xxx"),
        ("\n".join(map(str, range(MAX_WORDS + 1))).encode(), "has 50,001 words, more than 50,000"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused_in_one_line(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(data)
    with pytest.raises(UsageError) as raised:
        read_vocabulary(path)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", "a\0b"):
        with pytest.raises(UsageError, match=r"cannot be read: .*expected a text file in UTF-8"):
            read_vocabulary(path)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "MAX_BYTES", 3)
    (tmp_path / "words.txt").write_text("dog\ncat\n")
    with pytest.raises(UsageError, match="has 8 bytes, more than 3; give fewer words"):
        vocabulary.read_vocabulary(tmp_path / "words.txt")
