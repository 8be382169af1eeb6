from __future__ import annotations

import pytest

from pipeline.errors import LayerError, UsageError
from pipeline.query.selection import ClassUnits, class_units, match_names, parse_units

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
    assert parse_units(text, 9) == units


def test_class_names_and_their_synonyms() -> None:
    assert parse_units("tabby cat, Tiger Cat,0", 5, classes=CLASSES) == (1, 2, 0)
    assert parse_units("crane", 5, classes=CLASSES) == (3, 4)


def test_a_full_name_takes_precedence_over_a_part_of_another() -> None:
    classes = ("crane, machine", "crane", "tabby, cat", "Cat, Tabby")
    found = class_units(classes)
    assert found["crane"] == (1,)
    assert found["crane, machine"] == found["machine"] == (0,)
    assert found["tabby"] == found["cat"] == (2, 3)
    assert found["tabby, cat"] == (2,)
    assert parse_units("crane", 4, classes=classes) == (1,)
    assert parse_units("CAT,0", 4, classes=classes) == (2, 3, 0)


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
        parse_units(text, 9, where="conv")


def test_a_near_class_is_suggested() -> None:
    with pytest.raises(UsageError, match="did you mean 'tench'"):
        parse_units("tnech", 5, classes=CLASSES)


def test_clipping_leaves_out_what_a_layer_does_not_have() -> None:
    assert parse_units("0-23,40", 9, clip=True) == tuple(range(9))
    assert parse_units("12-23", 9, clip=True) == ()


def test_layers_by_glob_in_forward_order() -> None:
    assert match_names(["head", "blocks.*"], NAMES, where="out") == NAMES[1:]
    assert match_names([], NAMES, where="out") == NAMES
    with pytest.raises(LayerError, match=r"out has no layer 'block\.1'; did you mean 'blocks\.1'"):
        match_names(["block.1"], NAMES, where="out")
    with pytest.raises(LayerError, match="it has stem, blocks"):
        match_names(["q*"], NAMES, where="out")
