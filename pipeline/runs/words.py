"""Name the units of an index in words: embed what the index lists, rank a vocabulary, score the units."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa

from pipeline.choices import Device, EmbedOf
from pipeline.encoders.load import load_encoder
from pipeline.encoders.protocol import DualEncoder
from pipeline.errors import UsageError
from pipeline.layers.layer import Layer
from pipeline.naming.vocabulary import Vocabulary, label_vocabulary, read_vocabulary
from pipeline.naming.word_names import WordName, name_layer
from pipeline.progress import Reporter, Silent, readable_count
from pipeline.query.index import Index, open_index
from pipeline.query.selection import Patterns
from pipeline.runs.embed import embed_missing
from pipeline.runs.embedding_table import Patches, read_embeddings, write_embeddings
from pipeline.runs.label_names import names_by_label, names_given
from pipeline.runs.name_rows import (
    ENCODER,
    WORD_SOURCES,
    kept_names,
    names_encoder,
    other_sources,
    write_name_rows,
)
from pipeline.runs.recorded import Recorded, read_recorded
from pipeline.runs.semantics_table import LayerSemantics, score_layer, write_semantics
from pipeline.store.leftovers import writing
from pipeline.store.run_file import locked, read_finished_run
from pipeline.store.schemas import NAMES
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
    reporter, out, started = reporter or Silent(), Path(out), time.monotonic()
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
    with (
        locked(out),
        writing(out),
        open_index(out, trust=trust, data=data) as index,
    ):
        words = given or label_vocabulary(_labels(index), str(out))
        if words.repeated:
            reporter.note(
                f"the vocabulary {words.where} has {words.repeated:,} words again, which count once"
            )
        chosen = [layer for layer, _ in index.choose(layers)]
        return _name(index, chosen, encoder, words, of, batch_size, reporter, started)


def _name(
    index: Index,
    chosen: Sequence[Layer],
    encoder: DualEncoder,
    words: Vocabulary,
    of: EmbedOf,
    batch_size: int,
    reporter: Reporter,
    started: float,
) -> WordNaming:
    """Embed, name, and write the tables of an index that is locked."""
    out, fingerprint = index.out, str(index.run["fingerprint"])
    kept = _kept(out, fingerprint, chosen, encoder.fingerprint)
    spoken = encoder.texts(words.words)
    footer = {
        "maxact.fingerprint": fingerprint,
        ENCODER: encoder.fingerprint,
        "maxact.encoder_name": encoder.name,
    }
    recorded = [read_recorded(index, layer, of) for layer in chosen]
    table, unused = read_embeddings(out, fingerprint, encoder.fingerprint, encoder.dimension)
    if unused:
        reporter.note(f"{unused}; its images are embedded anew")
    before = len(table.patches)
    wanted = _all_patches(recorded)
    table = embed_missing(
        index,
        encoder,
        table,
        wanted,
        batch_size=batch_size,
        save=lambda grown: write_embeddings(out, grown, footer),
        reporter=reporter,
    )
    named: set[tuple[str, int]] = set()
    tables: list[pa.Table] = []
    scores: list[LayerSemantics] = []
    with reporter.task("naming units", sum(layer.units for layer in chosen), "units") as task:
        for layer, entries in zip(chosen, recorded, strict=True):
            sample = entries.sample(table)
            found = list(name_layer(sample, table.values, spoken, advance=task.advance))
            named.update((layer.name, name.unit) for name in found)
            tables += _tables(layer, found, words)
            scores.append(score_layer(layer, sample, table.values))
    write_semantics(out, index.layers, scores, {**footer, "maxact.embedded": of})
    write_name_rows(
        out,
        index.layers,
        [*kept, *tables],
        index_fingerprint=fingerprint,
        encoder=encoder.fingerprint,
    )
    return WordNaming(
        out,
        encoder.name,
        sum(layer.units for layer in chosen),
        len(named),
        len(words.words),
        len(wanted),
        len(table.patches) - before,
        time.monotonic() - started,
    )


def _kept(out: Path, fingerprint: str, chosen: Sequence[Layer], encoder: str) -> list[pa.Table]:
    """The rows of names.parquet that stay: those from labels, and this encoder's words in other layers."""
    kept = [kept_names(out, fingerprint, other_sources(WORD_SOURCES))]
    if names_encoder(out) == encoder:
        words = kept_names(out, fingerprint, WORD_SOURCES)
        named = {layer.name for layer in chosen}
        others = [name not in named for name in words["layer"].to_pylist()]
        kept.append(words.filter(pa.array(others, pa.bool_())))
    return kept


def _all_patches(recorded: Sequence[Recorded]) -> Patches:
    """The patches of all layers, each once."""
    return np.unique(np.concatenate([entries.patches for entries in recorded]))


def _tables(layer: Layer, names: Sequence[WordName], words: Vocabulary) -> Iterator[pa.Table]:
    """The rows of a layer."""
    if not names:
        return
    places: dict[tuple[int, str], int] = {}
    ranks = []
    for name in names:
        key = (name.unit, name.source)
        places[key] = places.get(key, 0) + 1
        ranks.append(places[key])
    yield pa.table(
        {
            "layer": pa.array([layer.name] * len(names)),
            "unit": np.array([name.unit for name in names], np.int32),
            "rank": np.array(ranks, np.int32),
            "concept": pa.array([words.words[name.word] for name in names]),
            "source": pa.array([name.source for name in names]),
            "correlation": pa.array([name.correlation for name in names], pa.float64()),
            "held_out": pa.array([name.held_out for name in names], pa.float64()),
            "combined": pa.array([name.combined for name in names], pa.float64()),
            "images": pa.array([name.images for name in names], pa.int64()),
            "weight": pa.array([name.weight for name in names], pa.float64()),
        }
    ).cast(NAMES)


def _labels(index: Index) -> list[str]:
    """The labels of the images in words, as names from labels have them."""
    rows = index.sql("SELECT DISTINCT label FROM images WHERE label IS NOT NULL ORDER BY label").rows
    labels = [str(label) for (label,) in rows]
    class_names = names_given(index.run)
    given = names_by_label(labels, class_names) if class_names is not None else None
    return [given[label] for label in labels] if given else labels
