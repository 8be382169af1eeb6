"""The commands that name units and find units by their names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import choices
from pipeline.choices import EmbedOf
from pipeline.cli.options import (
    ASK,
    INDEX,
    MAX_COUNT,
    AsCsv,
    AsJson,
    Device,
    LayersOfIndex,
    MovedData,
    Out,
    SafeCsv,
    TimeLimit,
    Trust,
)
from pipeline.cli.output import choose_form, print_line, write_rows
from pipeline.cli.reporting import console_reporter
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.query.index import Index
    from pipeline.query.results import QueryResult

__all__ = ["register"]

MAX_SHOWN = 60
"""Letters of a text that a message repeats."""

BATCH = 64
"""Patches that are embedded at once, unless another number is given."""

MAX_BATCH = 65_536
"""Patches that may be embedded at once."""

Encoder = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Dual encoder: open_clip:MODEL/PRETRAINED, hf:NAME or hf:FOLDER, or module:factory.",
        show_default=False,
    ),
]


def name(
    out: Out,
    hierarchy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What is above the labels: CSV or Parquet of child and parent.",
            show_default="WordNet's nouns, if the labels are classes of ImageNet",
        ),
    ] = None,
    concepts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Concepts of images instead of labels: CSV or Parquet of key and concept, or key and "
            "columns of true and false; needs an index made with --keep peaks.",
            show_default=False,
        ),
    ] = None,
    encoder: Encoder = None,
    vocabulary: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|wordnet",
            help="Words to choose from, one a line; needs --encoder.",
            show_default="the labels of the images",
        ),
    ] = None,
    of: Annotated[
        EmbedOf,
        typer.Option(help="What is embedded: the patch that a peak's position sees, or the whole input."),
    ] = "patches",
    layer: LayersOfIndex = None,
    data: MovedData = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, max=MAX_BATCH, help="Patches that are embedded at once.")
    ] = BATCH,
    device: Device = "auto",
    trust: Trust = False,
) -> None:
    """Name the units of an index by its labels, or in words with a model that embeds images and texts.

    Names are chosen on one half of the images and judged on the other. `maxact index` names units by labels;
    use this command for a hierarchy of your own above them, or for words. Each keeps the other's names.

    \b
    Examples:
      maxact name out/demo
      maxact name out/demo --hierarchy kinds.csv
      maxact name out/demo --concepts attributes.parquet
      maxact name out/demo --encoder open_clip:ViT-B-32/laion2b_s34b_b79k --vocabulary words.txt
    """

    if encoder is None:
        given = {"--vocabulary": vocabulary, "--layer": layer, "--data": data}
        _refuse_without_encoder(given, of, batch_size, device)
        from pipeline.runs.names import name_index

        by_labels = name_index(
            out, hierarchy=hierarchy, concepts=concepts, trust=trust, reporter=console_reporter()
        )
        print_line(f"{by_labels.out}: {by_labels}")
        return
    if concepts is not None:
        raise UsageError("--concepts is of images, and --encoder for words; give one of them")
    if hierarchy is not None:
        raise UsageError("--hierarchy is for names from labels, and --encoder for words; give one of them")
    from pipeline.runs.words import name_in_words

    done = name_in_words(
        out,
        encoder,
        vocabulary=vocabulary,
        of=of,
        layers=layer or (),
        batch_size=batch_size,
        device=device,
        data=data or (),
        trust=trust,
        reporter=console_reporter(),
    )
    print_line(f"{done.out}: {done}")


def _refuse_without_encoder(given: Mapping[str, object], of: EmbedOf, batch_size: int, device: str) -> None:
    """Refuse options that mean nothing for names from labels.

    Raises:
        UsageError: names one of them.
    """
    there = {name: value is not None for name, value in given.items()}
    there |= {"--of": of != "patches", "--batch-size": batch_size != BATCH, "--device": device != "auto"}
    for option in (name for name, changed in there.items() if changed):
        raise UsageError(f"{option} is for names in words; give --encoder as well, or leave it out")


def find(
    out: Out,
    words: Annotated[
        str, typer.Argument(metavar="TEXT", help="Words that the name must contain; any text with --encoder.")
    ],
    n: Annotated[int, typer.Option("-n", min=1, max=MAX_COUNT, help="Units to show.")] = 20,
    encoder: Encoder = None,
    layer: LayersOfIndex = None,
    device: Device = "auto",
    timeout: TimeLimit = None,
    trust: Trust = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    safe_csv: SafeCsv = False,
) -> None:
    """Find units by their names; names that hold best on held-out images come first.

    With --encoder, find units whose strongest images are nearest to a text of any kind. `maxact name
    --encoder` must have embedded them before.

    \b
    Examples:
      maxact find out/demo checks
      maxact find out/cx 'big cat' -n 5 --json
      maxact find out/demo 'out-of-focus background' --encoder hf:openai/clip-vit-base-patch32
    """
    from pipeline.query.index import open_index

    if not any(letter.isalnum() for letter in words):
        raise UsageError(f"TEXT must have a word, got {words!r}")
    if encoder is None and device != "auto":
        raise UsageError("--device is for an encoder; give --encoder as well, or leave it out")
    with open_index(out, timeout=timeout, trust=trust) as index:
        if encoder is not None:
            result, why = _like_text(index, words, encoder, device, n, layer or ()), "no unit has images"
        else:
            result, why = _named(index, words, n, layer or ()), _why_nothing(index, words)
        why = "" if result.rows else why
    form = choose_form(as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)
    if why and form != "table":
        print_line(why, error=True)
    write_rows(sys.stdout, result.columns, result.rows, form, empty=why)


def _named(index: Index, words: str, n: int, layers: Sequence[str]) -> QueryResult:
    """The units whose names contain words, of some layers."""
    from pipeline.query.results import QueryResult

    if not layers:
        return index.query("named_units", text=words, n=n)
    chosen = {layer.name for layer, _ in index.choose(layers)}
    found = index.query("named_units", text=words, n=MAX_COUNT)
    return QueryResult(found.columns, [row for row in found.rows if row[0] in chosen][:n], found.types)


def _like_text(
    index: Index, words: str, encoder: str, device: choices.Device, n: int, layers: Sequence[str]
) -> QueryResult:
    """The units whose images are nearest to a text."""
    from pipeline.encoders.load import load_encoder, refuse_other_forms
    from pipeline.query.text_search import refuse_other_encoder, refuse_without_embeddings, units_like

    refuse_other_forms(encoder)
    refuse_without_embeddings(index, encoder)
    loaded = load_encoder(encoder, device=device)
    refuse_other_encoder(index, encoder, loaded.fingerprint)
    return units_like(index, loaded.texts([words])[0], n=n, layers=layers)


def _why_nothing(index: Index, words: str) -> str:
    """Why no unit was found, and what is called nearly so."""
    from pipeline.errors import did_you_mean

    rows = index.sql("SELECT DISTINCT concept FROM names ORDER BY concept").rows
    if not rows:
        return "no unit has a name; `maxact name` gives names where images have labels, or with --encoder"
    shown = words if len(words) <= MAX_SHOWN else f"{words[:MAX_SHOWN]}..."
    hint = did_you_mean(words, [concept for (concept,) in rows]) or f"; {len(rows):,} concepts are names"
    return f"no unit is named {shown!r}{hint}"


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(rich_help_panel=INDEX)(name)
    app.command(rich_help_panel=ASK)(find)
