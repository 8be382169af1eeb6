"""Concepts from labels and hierarchies, and hierarchies from files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UsageError
from pipeline.naming.concepts import Concepts, refuse_unknown_labels, with_hierarchy
from pipeline.naming.hierarchy_file import imagenet_hierarchy, read_hierarchy

ANIMALS = "child,parent\ncat,feline\nlion,feline\nfeline,animal\ndog,canine\ncanine,animal\nant,insect\n"


def sets(concepts: Concepts, labels: tuple[str, ...]) -> dict[str, set[str]]:
    return {
        name: {label for label, member in zip(labels, row, strict=True) if member}
        for name, row in zip(concepts.names, concepts.members.matrix(), strict=True)
    }


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_nodes_have_all_labels_below_and_none_twice(tmp_path: Path) -> None:
    labels = ("ant", "cat", "dog", "lion")
    hierarchy = read_hierarchy(write(tmp_path / "h.csv", ANIMALS))
    refuse_unknown_labels(labels, hierarchy)
    concepts = with_hierarchy(labels, hierarchy)
    # `canine` has the labels of `dog`, `insect` those of `ant`.
    assert sets(concepts, labels) == {
        **{label: {label} for label in labels},
        "feline": {"cat", "lion"},
        "animal": {"cat", "dog", "lion"},
    }
    assert concepts.sources == ("label",) * 4 + ("hierarchy",) * 2


def test_a_label_may_have_labels_below_it(tmp_path: Path) -> None:
    hierarchy = read_hierarchy(write(tmp_path / "h.csv", "terrier,dog\npoodle,dog\n"))
    concepts = with_hierarchy(("cat", "dog", "poodle", "terrier"), hierarchy)
    assert concepts.names[-1] == "dog"
    assert concepts.members.matrix()[-1].tolist() == [False, True, True, True]


def test_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    csv = read_hierarchy(write(tmp_path / "h.csv", "a,b\nc,b\n"))
    pq.write_table(pa.table({"parent": ["b", "b"], "child": ["a", "c"]}), tmp_path / "h.parquet")
    assert read_hierarchy(tmp_path / "h.parquet").parents == csv.parents


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("child,parent\n", "is empty"),
        (b"\x89PNG\r\n\xff\xfe\x00", "cannot be read"),
        ("a,b,c\n", "row 1 is"),
        ("a,\n", "row 1 is"),
        ("a\n", "row 1 is"),
        (b"a\x00,b\n" + b"\xff" * 9, "cannot be read"),
    ],
)
@pytest.mark.parametrize("name", ["h.csv", "h.parquet"])
def test_other_files_are_refused_in_one_line(
    content: str | bytes, said: str, name: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="child and parent") as error:
        read_hierarchy(write(tmp_path / name, content))
    assert "\n" not in str(error.value)
    assert name == "h.parquet" or said in str(error.value)


def test_a_missing_file_and_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_hierarchy(tmp_path / "none.csv")
    pq.write_table(pa.table({"child": [1], "parent": [2]}), tmp_path / "h.parquet")
    with pytest.raises(UsageError, match="row 1 is"):
        read_hierarchy(tmp_path / "h.parquet")


def test_a_cycle_is_refused(tmp_path: Path) -> None:
    hierarchy = read_hierarchy(write(tmp_path / "h.csv", "x,a\na,b\nb,c\nc,a\n"))
    with pytest.raises(UsageError, match="has a cycle: ") as error:
        with_hierarchy(("x", "y"), hierarchy)
    assert "\n" not in str(error.value)
    itself = read_hierarchy(write(tmp_path / "h.csv", "x,x\n"))
    with pytest.raises(UsageError, match="'x' > 'x'"):
        with_hierarchy(("x", "y"), itself)


def test_unknown_labels_are_named(tmp_path: Path) -> None:
    hierarchy = read_hierarchy(write(tmp_path / "h.csv", "cat,feline\nunicorn,animal\n"))
    with pytest.raises(UsageError, match="'unicorn' without children"):
        refuse_unknown_labels(("cat", "dog"), hierarchy)


CATS = {
    "n02128385": ("n02128385_leopard", "leopard"),
    "n02129165": ("n02129165_lion", "lion"),
    "n02129604": ("n02129604_tiger", "Tiger, Panthera tigris"),
    "n02123045": ("n02123045_tabby", "tabby"),
    "n03710721": ("n03710721_maillot", "maillot_tank_suit"),
}


@pytest.mark.parametrize("form", [0, 1, 2])
def test_labels_of_imagenet_have_wordnet_above_them(form: int) -> None:
    labels = tuple(key if form == 0 else CATS[key][form - 1] for key in CATS)
    hierarchy = imagenet_hierarchy(labels)
    assert hierarchy is not None
    found = sets(with_hierarchy(labels, hierarchy), labels)
    assert found["big cat"] == {*labels[:3]}
    assert found["feline"] == {*labels[:4]}
    assert found["tabby"] == {labels[3]}
    assert found["maillot tank suit"] == {labels[4]}


def test_other_labels_have_no_wordnet() -> None:
    assert imagenet_hierarchy(()) is None
    assert imagenet_hierarchy(("tabby", "checks")) is None
    assert imagenet_hierarchy(("n99999999", "n02123045")) is None


def test_every_class_of_imagenet_is_found_by_its_id_and_its_name() -> None:
    from pipeline.vision_libraries import timm, torchvision

    timm()
    torchvision()
    from timm.data import ImageNetInfo
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    ids = ImageNetInfo("imagenet-1k").label_names()
    by_name = imagenet_hierarchy(tuple(_IMAGENET_CATEGORIES))
    assert by_name is not None
    assert [by_name.labels[name] for name in _IMAGENET_CATEGORIES] == ids
    concepts = with_hierarchy(tuple(ids), by_name)
    assert len({*concepts.names}) == len(concepts.names)
