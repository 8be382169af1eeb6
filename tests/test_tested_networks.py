"""The document lists the networks that the tests try, and no others."""

from __future__ import annotations

import pytest

from tests.tested_networks import COMMAND, DOCUMENT, network_table, with_table


def test_the_document_has_the_table_of_the_tests() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == with_table(text), f"docs/networks.md is behind the tests; run: {COMMAND}"


def test_a_table_that_differs_is_replaced_and_nothing_else() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    changed = text.replace("| alexnet | 64 x 64 |", "| alexnet | 65 x 65 |")
    assert changed != text
    assert with_table(changed) == text


def test_a_row_has_the_size_and_the_layers() -> None:
    rows = network_table().splitlines()
    assert "| vgg11_bn | 32 x 32 | `features.6` map 16 x 16, `classifier.6` vector 1 x 1 |" in rows
    assert "| hf: dinov3 | 64 x 64 | `model.layer.0` tokens 4 x 4, `model.layer.1` |" in rows


def test_a_document_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="has no lines"):
        with_table("# Networks\n")
