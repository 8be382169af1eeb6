"""Vocabularies: the words that units may be called, from a file, WordNet's nouns or the dataset's labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.naming.hierarchy_file import wordnet_names

__all__ = ["WORDNET", "Vocabulary", "label_vocabulary", "read_vocabulary"]

WORDNET = "wordnet"
"""The vocabulary of that name: WordNet's nouns over the classes of ImageNet."""

MAX_WORDS = 50_000
"""A layer of 2,048 units then needs 0.8 GB."""

MAX_LETTERS = 200

MAX_BYTES = 1 << 26

EXPECTED = "a text file in UTF-8 with one word or phrase a line"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words, each once.

    Args:
        words: in the order of the file.
        where: they are from, for messages.
        repeated: words that occurred more than once, and count once.
    """

    words: tuple[str, ...]
    where: str
    repeated: int = 0


def read_vocabulary(given: str | Path) -> Vocabulary:
    """Read a vocabulary: a file with a word or phrase a line; empty lines are skipped.

    Args:
        given: path, or `wordnet`.

    Raises:
        UsageError: when it cannot be read, is no text, or has fewer than two words or too many.
    """
    if str(given) == WORDNET:
        return _of(wordnet_names(), "of WordNet")
    path = Path(given)
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_BYTES else b""
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"the vocabulary {path} cannot be read: {reason}; expected {EXPECTED}") from error
    if size > MAX_BYTES:
        raise UsageError(
            f"the vocabulary {path} has {size:,} bytes, more than {MAX_BYTES:,}; give fewer words"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"the vocabulary {path} is not UTF-8: {error.reason}; expected {EXPECTED}"
        ) from error
    for number, line in enumerate(text.splitlines(), 1):
        if any(not letter.isprintable() and letter not in "\t\u00ad\u200c\u200d" for letter in line):
            raise UsageError(
                f"the vocabulary {path}: line {number} has control characters; expected {EXPECTED}"
            )
    return _of([" ".join(line.split()) for line in text.splitlines()], str(path))


def label_vocabulary(labels: Sequence[str], where: str) -> Vocabulary:
    """The labels of a dataset as a vocabulary.

    Args:
        labels: names, in words.
        where: the index.

    Raises:
        UsageError: when there are fewer than two, or too many.
    """
    if not labels:
        raise UsageError(f"the images of {where} have no labels to name units by; give --vocabulary FILE")
    return _of([" ".join(label.replace("_", " ").split()) for label in labels], f"of the labels of {where}")


def _of(lines: Sequence[str], where: str) -> Vocabulary:
    """The distinct words of some lines.

    Raises:
        UsageError: when they cannot be used.
    """
    filled = [line for line in lines if line]
    words = tuple(dict.fromkeys(filled))
    if len(words) < 2:
        found = "is empty" if not words else f"has one word, {words[0]!a}"
        raise UsageError(f"the vocabulary {where} {found}; words are compared, so give at least two")
    if len(words) > MAX_WORDS:
        raise UsageError(
            f"the vocabulary {where} has {len(words):,} words, more than {MAX_WORDS:,}; give fewer"
        )
    long = next((word for word in words if len(word) > MAX_LETTERS), None)
    if long is not None:
        raise UsageError(
            f"the vocabulary {where} has a line of {len(long):,} letters, {long[:30]!a}...; expected at "
            f"most {MAX_LETTERS}"
        )
    return Vocabulary(words, where, len(filled) - len(words))
