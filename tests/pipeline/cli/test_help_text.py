"""Help texts are broken where the terminal ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipeline.cli.help_text import join_lines


def test_lines_of_a_paragraph_are_joined_and_examples_stay():
    text = "Do it.\n\nOne line\nand another.\n\n\b\nExamples:\n  maxact a\n  maxact b"
    assert join_lines(text) == "Do it.\n\nOne line and another.\n\n\b\nExamples:\n  maxact a\n  maxact b"


def test_joining_twice_changes_nothing_more():
    text = "First\nline.\n\n   Second   paragraph\nof two lines."
    assert join_lines(join_lines(text)) == join_lines(text) == "First line.\n\nSecond paragraph of two lines."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentences"),
    [
        (["serve"], "who has it may run SQL, upload photographs and render. Ctrl-C ends the server."),
        (["name"], "use this command for a hierarchy of your own above them, or for words. Each keeps"),
        (["prior", "train"], "The same command resumes from the last checkpoint."),
        (["robust", "train"], "The same command resumes from the last checkpoint."),
    ],
)
def test_a_wide_terminal_has_a_paragraph_on_one_line(words, sentences):
    environment = {**os.environ, "COLUMNS": "300", "PYTHONPATH": ".:viz/public"}
    call = [sys.executable, "-m", "maxact", *words, "--help"]
    shown = subprocess.run(call, env=environment, capture_output=True, text=True, check=True).stdout
    assert any(sentences in line for line in shown.splitlines())
    assert any(line.strip().startswith(f"maxact {' '.join(words)} out/demo") for line in shown.splitlines())
