"""Names of the units of an index: `names.parquet`, from the sums per label that its parts keep."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DamagedFile, StoreError, UsageError
from pipeline.layers.layer import Layer
from pipeline.naming.concepts import (
    Concepts,
    Hierarchy,
    label_concepts,
    refuse_unknown_labels,
    with_hierarchy,
)
from pipeline.naming.hierarchy_file import imagenet_hierarchy, read_hierarchy
from pipeline.naming.name_units import name_units
from pipeline.progress import Reporter, Silent
from pipeline.remote.local import local_folder
from pipeline.runs.concept_names import name_by_concepts
from pipeline.runs.fingerprint import fingerprint, refuse_other_state
from pipeline.runs.label_names import names_by_label, names_given
from pipeline.runs.name_rows import (
    LABEL_SOURCES,
    kept_names,
    names_encoder,
    other_sources,
    write_name_rows,
)
from pipeline.runs.named_units import Naming, name_tables
from pipeline.runs.out_folder import remove_stale_names
from pipeline.state.commit import Commit, list_commits
from pipeline.state.label_sums import LabelSums
from pipeline.state.merging import by_first_shard
from pipeline.state.stored_labels import gather_labels
from pipeline.store.layout import NAMES_TABLE, holds_embeddings
from pipeline.store.leftovers import writing
from pipeline.store.run_file import locked, read_finished_run
from pipeline.store.schemas import NAMES
from pipeline.store.seals import PARQUET
from pipeline.store.trust import refuse_links

__all__ = ["Naming", "name_index", "names_damage", "write_names"]


def name_index(
    out: Path | str,
    *,
    hierarchy: Path | str | None = None,
    concepts: Path | str | None = None,
    trust: bool = False,
    reporter: Reporter | None = None,
) -> Naming:
    """Name the units of a finished index from labels, in place of such names that it has; words stay.

    Args:
        out: folder of the index.
        hierarchy: file of what is above the labels; None takes WordNet's nouns if the labels are classes
            of ImageNet, else nothing.
        concepts: file of concepts of single images, from which units are named instead; needs an index
            that keeps the peaks of all images. See `pipeline.naming.concepts_file`.
        trust: follow links out of OUT.
        reporter: shows the progress.

    Raises:
        StoreError: when OUT holds no finished index, or its images have no labels; for concepts, when it
            keeps no peaks.
        UsageError: when the hierarchy or the concepts cannot be used, or both are given.
        UntrustedIndex: when a link leads out of OUT.
    """
    reporter, out = reporter or Silent(), local_folder(out, "*", "parts/*")
    if not trust:
        refuse_links(out)
    if concepts is not None:
        if hierarchy is not None:
            raise UsageError("a hierarchy is above labels, and concepts are of images; give one of them")
        return name_by_concepts(out, Path(concepts), trust=trust, reporter=reporter)
    above = None if hierarchy is None else read_hierarchy(Path(hierarchy))
    read_finished_run(out)  # before the folder is created or locked
    with locked(out), writing(out):
        run = read_finished_run(out)
        refuse_other_state(out, run, "names units")
        commits = list_commits(out / "parts", fingerprint=fingerprint(run["fields"]))
        if not commits:
            raise StoreError(
                f"{out / 'parts'} has no parts, and names need their sums; index again with --fresh"
            )
        for commit in commits:
            commit.verify()
        done = write_names(
            out,
            [Layer.from_record(layer) for layer in run["layers"]],
            commits,
            index_fingerprint=run["fingerprint"],
            class_names=names_given(run),
            hierarchy=above,
            reporter=reporter,
        )
        if done is None:
            raise StoreError(f"the images of {out} have no labels, so units cannot be named from them")
        return done


def names_damage(out: Path) -> str | None:
    """What is wrong with the names of a finished index; None if nothing is.

    Raises:
        StoreError: when they cannot be read, which may pass.
    """
    path = out / NAMES_TABLE
    if not path.is_file():
        return "is missing" if _has_labels(out) else None
    try:
        return None if PARQUET.is_intact(path.read_bytes()) else "was changed after it was written"
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error


def _has_labels(out: Path) -> bool:
    """Whether the table of labels of an index is intact and has rows."""
    try:
        return bool(pq.read_metadata(out / "classes.parquet").num_rows)
    except (OSError, pa.ArrowException):
        return False


def write_names(
    out: Path,
    layers: Sequence[Layer],
    commits: Sequence[Commit],
    *,
    index_fingerprint: str,
    class_names: Sequence[str] | None = None,
    hierarchy: Hierarchy | None = None,
    reporter: Reporter | None = None,
) -> Naming | None:
    """Write names.parquet from verified parts; of images without labels there is none.

    Args:
        out: folder of the index.
        layers: in forward order, as their units are in the parts.
        commits: of disjoint shards.
        index_fingerprint: written into the footer.
        class_names: that the user gave, see `pipeline.runs.label_names`.
        hierarchy: above the labels; None for WordNet's if they are ImageNet's.
        reporter: shows the progress.

    Returns:
        What was named; None without labels.

    Raises:
        StoreError: when a part cannot be read, or the table not be written.
        UsageError: when the hierarchy has a cycle or labels that no image has.
    """
    reporter, started = reporter or Silent(), time.monotonic()
    with contextlib.ExitStack() as stack:
        folders = [commit.folder for commit in by_first_shard(commits)]
        sums = gather_labels(folders, sum(layer.units for layer in layers), out, stack)
        remove_stale_names(out, index_fingerprint)
        if not sums.labels:
            return None
        given = names_by_label(sums.labels, class_names) if class_names is not None else None
        labels = tuple(given[label] for label in sums.labels) if given else sums.labels
        if hierarchy is not None:
            refuse_unknown_labels(labels, hierarchy)
        above = hierarchy or imagenet_hierarchy(labels)
        concepts = label_concepts(labels) if above is None else with_hierarchy(labels, above)
        rows, named = _named(layers, sums, concepts, reporter)
    others, encoder = _others(out, index_fingerprint, reporter)
    write_name_rows(out, layers, [*rows, others], index_fingerprint=index_fingerprint, encoder=encoder)
    source = "label" if above is None else above.source
    return Naming(out, sums.units, named, len(concepts.names), source, time.monotonic() - started)


def _named(
    layers: Sequence[Layer], sums: LabelSums, concepts: Concepts, reporter: Reporter
) -> tuple[list[pa.Table], int]:
    """The rows of names, and the number of units that have one."""
    rows: list[pa.Table] = []
    named = done = 0
    with reporter.task("naming units", sums.units, "units") as task:
        for found in name_units(sums, concepts):
            named += len(np.unique(found.unit))
            rows += name_tables(layers, concepts.names, concepts.sources, found)
            task.advance(found.units - done)
            done = found.units
    return rows, named


def _others(out: Path, index_fingerprint: str, reporter: Reporter) -> tuple[pa.Table, str]:
    """The rows of other sources that stay, and the fingerprint of the encoder of those in words."""
    encoder = names_encoder(out)
    try:
        return kept_names(out, index_fingerprint, other_sources(LABEL_SOURCES)), encoder
    except DamagedFile:
        if holds_embeddings(out, index_fingerprint):
            reporter.note(
                "names in words cannot be rebuilt from the parts; give `maxact name --encoder` again, which "
                "uses the embeddings that are there"
            )
        return NAMES.empty_table(), ""
