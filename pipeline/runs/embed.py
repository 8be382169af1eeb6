"""Embed the patches that an index lists, each once: read the photographs back, cut, and encode in batches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from PIL import Image

from pipeline.encoders.protocol import DualEncoder, Embeddings
from pipeline.images.decode import open_original
from pipeline.images.preprocess import Box, Preprocess
from pipeline.progress import Reporter
from pipeline.query.index import Index
from pipeline.query.indexed_images import ShownImages
from pipeline.runs.embedding_table import EmbeddingTable, Patches

__all__ = ["embed_missing"]

SAVE_SECONDS = 300.0
"""What is embedded is written this often, so that an interrupted command loses little."""

Cut = tuple[Image.Image, Preprocess]


def embed_missing(
    index: Index,
    encoder: DualEncoder,
    table: EmbeddingTable,
    patches: Patches,
    *,
    batch_size: int,
    save: Callable[[EmbeddingTable], None],
    reporter: Reporter,
) -> EmbeddingTable:
    """Embed those patches that a table lacks.

    Args:
        index: whose dataset has the photographs; thumbnails stand in for them.
        encoder: to embed with.
        table: of what is embedded already.
        patches: wanted; may repeat.
        batch_size: patches that are embedded at once.
        save: writes the table, every few minutes and at the end.
        reporter: shows the progress.

    Returns:
        The table with all patches.

    Raises:
        SourceError: when a photograph cannot be read.
        EncoderError: when the encoder fails; what was embedded before has been saved.
    """
    missing = table.missing(patches)
    if not len(missing):
        return table
    fresh: list[Embeddings] = []
    first = 0

    def flush() -> None:
        nonlocal table, first
        if fresh:
            values = np.concatenate(fresh)
            fresh.clear()
            table = table.extended(missing[first : first + len(values)], values)
            first += len(values)
            save(table)

    due = time.monotonic() + SAVE_SECONDS
    with reporter.task("embedding", len(missing), "patches") as task:
        try:
            for pictures in _ahead(_batches(index, missing, batch_size, reporter)):
                fresh.append(encoder.images(pictures))
                task.advance(len(pictures))
                if time.monotonic() >= due:
                    flush()
                    due = time.monotonic() + SAVE_SECONDS
        finally:
            # An interrupt, or a photograph that cannot be read, does not cost what was computed.
            flush()
    return table


def _ahead(batches: Iterator[list[Image.Image]]) -> Iterator[list[Image.Image]]:
    """The batches, of which the next is read in a thread while one is embedded."""
    with ThreadPoolExecutor(1, thread_name_prefix="maxact-patches") as pool:
        waiting = pool.submit(next, batches, None)
        while (pictures := waiting.result()) is not None:
            waiting = pool.submit(next, batches, None)
            yield pictures


def _batches(index: Index, patches: Patches, size: int, reporter: Reporter) -> Iterator[list[Image.Image]]:
    """The pictures of patches that are sorted by image, some at a time; each photograph is read once."""
    grey = index.preprocess.channels == "grey"
    shown = ShownImages(index, reporter)
    waiting: list[Image.Image] = []
    image_ids, firsts = np.unique(patches["image_id"], return_index=True)
    ends = [*firsts[1:], len(patches)]
    windows = {
        int(image_id): patches[first:end]
        for image_id, first, end in zip(image_ids, firsts, ends, strict=True)
    }
    for image_id, (photograph, preprocess) in shown.read(windows, partial(_open, grey)):
        for patch in windows[image_id]:
            waiting.append(_cut(photograph, preprocess, patch))
            if len(waiting) == size:
                yield waiting
                waiting = []
    if waiting:
        yield waiting


def _open(grey: bool, data: bytes, preprocess: Preprocess) -> Cut:
    photograph = open_original(data)
    # A network of one channel has not seen the colours either.
    return photograph.convert("L").convert("RGB") if grey else photograph, preprocess


def _cut(photograph: Image.Image, preprocess: Preprocess, patch: Patches) -> Image.Image:
    """The window of the input in the original photograph, rounded outwards to whole pixels."""
    width, height = photograph.size
    window = Box(*(float(patch[edge]) for edge in ("left", "top", "right", "bottom")))
    box = preprocess.to_original(window, width, height)
    left, top = (
        min(max(0, math.floor(edge)), size - 1) for edge, size in ((box.left, width), (box.top, height))
    )
    right = min(width, max(left + 1, math.ceil(box.right)))
    bottom = min(height, max(top + 1, math.ceil(box.bottom)))
    return photograph.crop((left, top, right, bottom))
