"""The figures of the gallery are those of the benchmarks' tables."""

from __future__ import annotations

import re

import pytest

from docs.site.blocks import DOCS, ROOT
from docs.site.truth import MARK, read_truth, truth_table
from viz.recipes.catalog import RECIPES

BENCH = (ROOT / "bench/README.md").read_text(encoding="utf-8")

TEXT = """
### Every recipe

| explanation | pictures | `a` | `b` | all | all - `real 1` |
|---|---|---|---|---|---|
| real 1 | 1 | 57 ± 8 (52) | 56 ± 7 (52) | 57.5 ± 3.6 | - |
| plain | 1 | 61 ± 9 (58) | 62 ± 7 (55) | 60.3 ± 3.6 | +2.8 ± 4.4 |
| few * | 4 | 60 ± 14 (52) | - | 59.6 ± 6.5 | +3.0 ± 9.2 |

Common:

| explanation | pictures | `a` | `b` | all | all - `real 1` |
|---|---|---|---|---|---|
| real 1 | 1 | 73 ± 8 (67) | 64 ± 7 (57) | 63.9 ± 3.8 | - |
| plain | 1 | 76 ± 6 (75) | 75 ± 6 (71) | 67.4 ± 3.4 | +3.5 ± 4.5 |
| few * | 4 | 56 ± 10 (50) | - | 47.8 ± 6.9 | -17.6 ± 8.9 |

| recipe | `a` | `b` |
|---|---|---|
| plain | 1.30, 100% | 1.25, 90% |

### Another section

| explanation | not | this |
|---|---|---|
| real 1 | 1 | 2 |
"""


def test_one_recipe_beside_a_patch() -> None:
    assert truth_table(read_truth(TEXT), "plain").splitlines()[2:] == [
        "| own centring | 61 ± 9 (58) | 62 ± 7 (55) | 60.3 ± 3.6 | +2.8 ± 4.4 |",
        "| one real patch, own centring | 57 ± 8 (52) | 56 ± 7 (52) | 57.5 ± 3.6 | - |",
        "| common centring | 76 ± 6 (75) | 75 ± 6 (71) | 67.4 ± 3.4 | +3.5 ± 4.5 |",
        "| one real patch, common centring | 73 ± 8 (67) | 64 ± 7 (57) | 63.9 ± 3.8 | - |",
        "| activation, renderings `ok` or `retried` | 1.30, 100% | 1.25, 90% |  |  |",
    ]


def test_a_recipe_of_fewer_units_stands_alone() -> None:
    table = truth_table(read_truth(TEXT), "few")
    assert "one real patch, " not in table
    assert "| own centring | 60 ± 14 (52) | - | 59.6 ± 6.5 | +3.0 ± 9.2 |" in table
    everything = truth_table(read_truth(TEXT), None)
    assert "| `few` * | 4 | 59.6 ± 6.5 | +3.0 ± 9.2 | 47.8 ± 6.9 | -17.6 ± 8.9 |" in everything
    assert everything.count("\n") == 4


def test_what_was_not_measured_says_so() -> None:
    assert truth_table(read_truth(TEXT), "dream") == "Not measured."


@pytest.mark.parametrize("text", ["", TEXT.replace("real 1", "real 2"), TEXT.partition("| recipe")[0]])
def test_tables_that_are_not_there_are_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        read_truth(text)


def test_every_figure_of_the_gallery_is_in_the_benchmarks() -> None:
    truth = read_truth()
    for recipe in (None, *truth.recipes):
        figures = re.findall(r"[-+]?\d[\d.]* ± \d[\d.]*|\d\.\d\d, \d+%", truth_table(truth, recipe))
        assert figures
        assert all(figure in BENCH for figure in figures)


def test_every_page_of_a_recipe_that_was_measured_has_its_figures() -> None:
    truth = read_truth()
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (DOCS / "gallery").glob("*.md")}
    for name, text in pages.items():
        wanted = {None} if name == "index" else {name} & {*truth.recipes}
        assert {found["recipe"] for found in MARK.finditer(text)} == wanted, name
        assert wanted or "Not measured" in text, name
    assert {name.partition("-")[0] for name in RECIPES} == {*pages} - {"index"}
