"""Name the units of an index in words: embed what the index lists, rank a vocabulary, score the units."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa

from pipeline.choices import Device, EmbedOf
from pipeline.encoders.load import load_encoder
from pipeline.encoders.protocol import DualEncoder, Embeddings
from pipeline.errors import UsageError
from pipeline.layers.layer import Layer
from pipeline.naming.vocabulary import Vocabulary, label_vocabulary, read_vocabulary
from pipeline.naming.word_names import name_layer
from pipeline.progress import Reporter, Silent, readable_count
from pipeline.query.index import Index, open_index
from pipeline.query.selection import Patterns
from pipeline.remote.local import local_folder
from pipeline.runs.embed import embed_missing
from pipeline.runs.embedding_table import (
    EmbeddingTable,
    Patches,
    read_embeddings,
    write_embeddings,
)
from pipeline.runs.label_names import names_by_label, names_given
from pipeline.runs.name_rows import (
    ENCODER,
    WORD_SOURCES,
    kept_names,
    names_encoder,
    other_sources,
    word_rows,
    write_name_rows,
)
from pipeline.runs.recorded import Recorded, read_recorded
from pipeline.runs.semantics_table import score_layer, write_semantics
from pipeline.store.leftovers import writing
from pipeline.store.run_file import locked, read_finished_run
from pipeline.store.trust import refuse_links

__all__ = ["WordNaming", "name_in_words"]

MAX_BATCH = 65_536


@dataclass(frozen=True, slots=True)
class WordNaming:
    """What was named.

    Args:
        out: folder of the index.
        encoder: as it was given.
        units: of the chosen layers.
        named: units that have a word.
        words: of the vocabulary.
        patches: of the chosen layers, each counted once.
        embedded: patches that were not embedded before.
        seconds: duration.
    """

    out: Path
    encoder: str
    units: int
    named: int
    words: int
    patches: int
    embedded: int
    seconds: float

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.named:,} of {readable_count(self.units, 'unit')} named in {self.words:,} words by "
            f"{self.encoder} ({self.embedded:,} of {self.patches:,} patches embedded now)"
        )


def name_in_words(
    out: Path | str,
    encoder: str | DualEncoder,
    *,
    vocabulary: Path | str | None = None,
    of: EmbedOf = "patches",
    layers: Patterns = (),
    batch_size: int = 64,
    device: Device = "auto",
    data: Path | str | Sequence[Path | str] = (),
    trust: bool = False,
    reporter: Reporter | None = None,
) -> WordNaming:
    """Name the units of a finished index in words, in place of words that it has; labels stay.

    Writes embeddings.parquet, semantics.parquet and names.parquet. Embeddings by the same encoder are
    used again.

    Args:
        out: folder of the index.
        encoder: name, see `pipeline.encoders.load`, or a loaded one.
        vocabulary: file of words, or `wordnet`; None for the labels of the images.
        of: `patches`, what the position of each peak sees, or `images`.
        layers: names or globs; all layers for none. Other layers keep their words by this encoder.
        batch_size: patches that are embedded at once.
        device: on which the encoder runs, unless it is a loaded one.
        data: where the indexed dataset is, if it has moved.
        trust: use the dataset that OUT names, and follow links out of it.
        reporter: shows the progress.

    Raises:
        UsageError: for an encoder, a vocabulary or a value that cannot be used.
        EncoderError: when the encoder cannot be loaded, is no dual encoder, or fails.
        StoreError: when OUT holds no finished index, or a table cannot be written.
        SourceError: when a photograph cannot be read.
        UntrustedIndex: when the dataset or a link of somebody else's index would be used.
    """
    reporter, out, started = reporter or Silent(), local_folder(out, "*"), time.monotonic()
    if of not in get_args(EmbedOf):
        raise UsageError(f"of must be {' or '.join(get_args(EmbedOf))}, got {of!r}")
    if not isinstance(batch_size, int) or not 1 <= batch_size <= MAX_BATCH:
        raise UsageError(f"the batch size must be from 1 to {MAX_BATCH:,}, got {batch_size!r}")
    given = None if vocabulary is None else read_vocabulary(vocabulary)
    if not trust:
        refuse_links(out)
    read_finished_run(out)  # before the encoder is loaded, and the folder locked
    if isinstance(encoder, str):
        encoder = load_encoder(encoder, device=device)
    with locked(out), writing(out), open_index(out, trust=trust, data=data) as index:
        words = given or label_vocabulary(_labels(index), str(out))
        if words.repeated:
            lines = readable_count(words.repeated, "line")
            reporter.note(f"words that the vocabulary {words.where} has again count once ({lines})")
        chosen = tuple(layer for layer, _ in index.choose(layers))
        task = _Task(index, chosen, encoder, words, encoder.texts(words.words), of)
        kept = _kept(task)
        recorded, table, embedded = _embed(task, batch_size, reporter)
        return WordNaming(
            out,
            encoder.name,
            sum(layer.units for layer in chosen),
            _write(task, kept, recorded, table, reporter),
            len(words.words),
            len(_all_patches(recorded)),
            embedded,
            time.monotonic() - started,
        )


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to be named, and by what.

    Args:
        index: open and locked.
        layers: to name.
        encoder: that embeds.
        words: to choose from.
        spoken: (word, dimension), their embeddings.
        of: what is embedded.
    """

    index: Index
    layers: tuple[Layer, ...]
    encoder: DualEncoder
    words: Vocabulary
    spoken: Embeddings
    of: EmbedOf

    @property
    def fingerprint(self) -> str:
        """Of the index."""
        return str(self.index.run["fingerprint"])

    @property
    def footer(self) -> dict[str, str]:
        """Of the tables of embeddings."""
        return {
            "maxact.fingerprint": self.fingerprint,
            ENCODER: self.encoder.fingerprint,
            "maxact.encoder_name": self.encoder.name,
        }


def _embed(task: _Task, batch_size: int, reporter: Reporter) -> tuple[list[Recorded], EmbeddingTable, int]:
    """What is recorded of the layers, the embeddings of all of it, and how many were not there before."""
    out, encoder = task.index.out, task.encoder
    recorded = [read_recorded(task.index, layer, task.of) for layer in task.layers]
    table, unused = read_embeddings(out, task.fingerprint, encoder.fingerprint, encoder.dimension)
    if unused:
        reporter.note(f"{unused}; its images are embedded anew")
    before = len(table.patches)
    table = embed_missing(
        task.index,
        encoder,
        table,
        _all_patches(recorded),
        batch_size=batch_size,
        save=lambda grown: write_embeddings(out, grown, task.footer),
        reporter=reporter,
    )
    return recorded, table, len(table.patches) - before


def _write(
    task: _Task,
    kept: Sequence[pa.Table],
    recorded: Sequence[Recorded],
    table: EmbeddingTable,
    reporter: Reporter,
) -> int:
    """Name the units, and write the tables of names and semantics; returns how many units got a word."""
    named, tables, scores = 0, list(kept), []
    with reporter.task("naming units", sum(layer.units for layer in task.layers), "units") as progress:
        for layer, entries in zip(task.layers, recorded, strict=True):
            sample = entries.sample(table)
            found = list(name_layer(sample, table.values, task.spoken, advance=progress.advance))
            named += len({name.unit for name in found})
            tables.append(word_rows(layer, found, task.words))
            scores.append(score_layer(layer, sample, table.values))
    out, layers = task.index.out, task.index.layers
    write_semantics(out, layers, scores, {**task.footer, "maxact.embedded": task.of})
    write_name_rows(out, layers, tables, index_fingerprint=task.fingerprint, encoder=task.encoder.fingerprint)
    return named


def _kept(task: _Task) -> list[pa.Table]:
    """The rows of names.parquet that stay: of other sources, and this encoder's words in other layers."""
    out = task.index.out
    kept = [kept_names(out, task.fingerprint, other_sources(WORD_SOURCES))]
    if names_encoder(out) == task.encoder.fingerprint:
        words = kept_names(out, task.fingerprint, WORD_SOURCES)
        named = {layer.name for layer in task.layers}
        others = [name not in named for name in words["layer"].to_pylist()]
        kept.append(words.filter(pa.array(others, pa.bool_())))
    return kept


def _all_patches(recorded: Sequence[Recorded]) -> Patches:
    """The patches of all layers, each once."""
    return np.unique(np.concatenate([entries.patches for entries in recorded]))


def _labels(index: Index) -> list[str]:
    """The labels of the images in words, as names from labels have them."""
    rows = index.sql("SELECT DISTINCT label FROM images WHERE label IS NOT NULL ORDER BY label").rows
    labels = [str(label) for (label,) in rows]
    class_names = names_given(index.run)
    given = names_by_label(labels, class_names) if class_names is not None else None
    return [given[label] for label in labels] if given else labels
