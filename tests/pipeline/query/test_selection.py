from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.errors import LayerError, UsageError
from pipeline.query.selection import ClassUnits, choose_names, choose_units, class_units, select

CLASSES = ("tench, Tinca tinca", "tabby, tabby cat", "tiger cat", "crane", "crane")
NAMES = ("stem", "blocks.0", "blocks.1", "head")


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("7", (7,)),
        ("0-3", (0, 1, 2, 3)),
        ("5, 1-2 ,5", (5, 1, 2)),
        ("2 - 3", (2, 3)),
        ("all", tuple(range(9))),
    ],
)
def test_numbers_and_ranges(text: str, units: tuple[int, ...]) -> None:
    assert choose_units(text, 9) == units


def test_class_names_and_their_synonyms() -> None:
    assert choose_units("tabby cat, Tiger Cat,0", 5, classes=CLASSES) == (1, 2, 0)
    assert choose_units("crane", 5, classes=CLASSES) == (3, 4)


def test_a_full_name_takes_precedence_over_a_part_of_another() -> None:
    classes = ("crane, machine", "crane", "tabby, cat", "Cat, Tabby")
    found = class_units(classes)
    assert found["crane"] == (1,)
    assert found["crane, machine"] == found["machine"] == (0,)
    assert found["tabby"] == found["cat"] == (2, 3)
    assert found["tabby, cat"] == (2,)
    assert choose_units("crane", 4, classes=classes) == (1,)
    assert choose_units("CAT,0", 4, classes=classes) == (2, 3, 0)


def test_a_name_that_classes_share_means_all_of_them_and_is_refused_where_one_is_needed() -> None:
    units = ClassUnits(CLASSES)
    assert class_units(CLASSES)["crane"] == (3, 4)
    assert (units["tiger cat"], units["tench"], len(units)) == (2, 0, 8)
    with pytest.raises(UsageError, match=r"'crane' is ambiguous: units 3 \(crane\), 4 \(crane\)"):
        units["crane"]
    assert "cranes" not in units
    assert units.get("cranes") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("9", "conv has 9 units, numbered 0-8; got 9"),
        ("3-9", "got 3-9"),
        ("5-2", "the range 5-2 runs backwards; write 2-5"),
        ("-1", "written like 0-23,40"),
        ("", "written like 0-23,40"),
        ("1,,2", "got ''"),
        ("1.5", "got '1.5'"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        choose_units(text, 9, where="conv")


def test_a_near_class_is_suggested() -> None:
    with pytest.raises(UsageError, match="did you mean 'tench'"):
        choose_units("tnech", 5, classes=CLASSES)


def test_clipping_leaves_out_what_a_layer_does_not_have() -> None:
    assert choose_units("0-23,40", 9, clip=True) == tuple(range(9))
    assert choose_units("12-23", 9, clip=True) == ()


def test_units_as_numbers() -> None:
    assert choose_units(range(3), 9) == (0, 1, 2)
    assert choose_units(iter([5, 1, 5]), 9) == (5, 1)
    assert choose_units(np.array([2, 7]), 9) == (2, 7)
    assert choose_units([7, 8, 9], 9, clip=True) == (7, 8)
    assert choose_units([], 9) == ()
    with pytest.raises(UsageError, match="conv has 9 units, numbered 0-8; got 9"):
        choose_units([0, 9], 9, where="conv")
    with pytest.raises(UsageError, match="numbered 0-8; got -1"):
        choose_units([-1], 9, clip=True)


@pytest.mark.parametrize("units", [3, [1.5], ["1"], None])
def test_units_of_another_kind_are_refused(units: Any) -> None:
    with pytest.raises(UsageError, match="units of conv are numbers, or text such as 0-23,40; got"):
        choose_units(units, 9, where="conv")


def test_a_plain_string_is_one_pattern() -> None:
    assert choose_names("blocks.*", NAMES, where="out") == ("blocks.0", "blocks.1")
    assert choose_names(iter(["head"]), NAMES, where="out") == ("head",)


def test_layers_by_glob_in_forward_order() -> None:
    assert choose_names(["head", "blocks.*"], NAMES, where="out") == NAMES[1:]
    assert choose_names([], NAMES, where="out") == NAMES
    with pytest.raises(LayerError, match=r"out has no layer 'block\.1'; did you mean 'blocks\.1'"):
        choose_names(["block.1"], NAMES, where="out")
    with pytest.raises(LayerError, match="it has stem, blocks"):
        choose_names(["q*"], NAMES, where="out")


COUNTS = {"stem": 4, "blocks.0": 8, "head": 5}


def choice(patterns: Any, units: Any) -> dict[str, tuple[int, ...]]:
    return select(patterns, units, COUNTS, where="out", classes={"head": CLASSES})


def test_several_layers_give_the_units_that_each_has() -> None:
    assert choice((), "3-5") == {"stem": (3,), "blocks.0": (3, 4, 5), "head": (3, 4)}
    assert choice("*s*", iter([6, 1])) == {"stem": (1,), "blocks.0": (6, 1)}
    assert choice(["stem", "head"], "4") == {"head": (4,)}
    with pytest.raises(UsageError, match="none of stem, head has units 6, 7"):
        choice(["stem", "head"], range(6, 8))


def test_one_layer_must_have_them_all_and_knows_its_classes() -> None:
    assert choice("head", "crane,0") == {"head": (3, 4, 0)}
    with pytest.raises(UsageError, match="stem has 4 units, numbered 0-3; got 3-5"):
        choice(["stem"], "3-5")


def test_units_that_are_no_numbers_are_refused_for_several_layers_too() -> None:
    with pytest.raises(UsageError, match="units of out are numbers"):
        choice((), 3)
