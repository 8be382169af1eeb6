"""Concepts: sets of labels with a name, from the labels themselves and from a hierarchy above them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from pipeline.errors import UsageError
from pipeline.naming.label_sets import LabelSets

__all__ = ["Concepts", "Hierarchy", "label_concepts", "refuse_unknown_labels", "with_hierarchy"]

_SHOWN = 3
"""Labels that a message names."""


@dataclass(frozen=True, slots=True)
class Concepts:
    """Sets of labels.

    Args:
        names: of the concepts.
        sources: where each is from: `label`, `wordnet` or `hierarchy`.
        members: the labels of each.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]
    members: LabelSets


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """What is above the labels of a dataset.

    Args:
        source: `wordnet`, or `hierarchy` for a user's file.
        parents: the nodes directly above each node or label.
        names: of nodes, where they are not their own.
        labels: the node that each label is, where it is not named as the label.
        where: file that messages name.
    """

    source: str
    parents: Mapping[str, tuple[str, ...]]
    names: Mapping[str, str]
    labels: Mapping[str, str]
    where: str


def label_concepts(labels: Sequence[str]) -> Concepts:
    """Each label as a concept."""
    members = LabelSets.of(([place] for place in range(len(labels))), len(labels))
    return Concepts(tuple(labels), ("label",) * len(labels), members)


def with_hierarchy(labels: Sequence[str], hierarchy: Hierarchy) -> Concepts:
    """The labels, and the nodes above them as sets of all labels below.

    A node with the same labels as a label or as a node below it is left out, and so is one that has
    all labels: neither tells more of a unit.

    Args:
        labels: of the dataset.
        hierarchy: above them; may have further labels if it is WordNet.

    Raises:
        UsageError: when the hierarchy has a cycle.
    """
    node_of = {label: hierarchy.labels.get(label, label) for label in labels}
    below: dict[str, set[int]] = {}
    for place, label in enumerate(labels):
        below.setdefault(node_of[label], set()).add(place)
    # A label that is also a node stands for its own images; the node, for those below it as well.
    names = [hierarchy.names.get(node_of[label], label) for label in labels]
    sources = ["label"] * len(labels)
    members = [frozenset({place}) for place in range(len(labels))]
    seen = {*members, frozenset(range(len(labels)))}
    for node in _children_first(hierarchy):
        found = frozenset(below.get(node, ()))
        for parent in hierarchy.parents.get(node, ()):
            below.setdefault(parent, set()).update(found)
        if found and found not in seen:
            seen.add(found)
            names.append(hierarchy.names.get(node, node))
            sources.append(hierarchy.source)
            members.append(found)
    return Concepts(tuple(names), tuple(sources), LabelSets.of(members, len(labels)))


def _children_first(hierarchy: Hierarchy) -> list[str]:
    """All nodes, each after those below it.

    Raises:
        UsageError: when one is above itself.
    """
    children: dict[str, set[str]] = {}
    for child in sorted(hierarchy.parents):
        children.setdefault(child, set())
        for parent in hierarchy.parents[child]:
            children.setdefault(parent, set()).add(child)
    ordered = {node: sorted(children[node]) for node in sorted(children)}
    try:
        return list(TopologicalSorter(ordered).static_order())
    except CycleError as error:
        circle = [ascii(node) for node in reversed(error.args[1])]
        shown = " > ".join(circle if len(circle) <= _SHOWN + 1 else [*circle[:_SHOWN], "...", circle[-1]])
        raise UsageError(
            f"the hierarchy {hierarchy.where} has a cycle: {shown} (child > parent); remove one of its rows"
        ) from error


def refuse_unknown_labels(labels: Sequence[str], hierarchy: Hierarchy) -> None:
    """Refuse a user's hierarchy whose lowest nodes are no labels of the dataset.

    Raises:
        UsageError: names some of them.
    """
    above = {parent for parents in hierarchy.parents.values() for parent in parents}
    unknown = sorted({*hierarchy.parents} - above - {*labels})
    if unknown:
        shown = ", ".join(ascii(name) for name in unknown[:_SHOWN])
        more = f" and {len(unknown) - _SHOWN:,} more" if len(unknown) > _SHOWN else ""
        known = ", ".join(map(ascii, labels[:_SHOWN]))
        raise UsageError(
            f"the hierarchy {hierarchy.where} has {shown}{more} without children, which no image is "
            f"labelled; the dataset has {len(labels):,} labels, such as {known}"
        )
