"""The folder of an index: where it may be, what may be removed from it, and nothing else ever is."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.data.dataset import default_cache
from pipeline.data.files import expand, is_url
from pipeline.data.names import DEMO
from pipeline.data.torchvision import PREFIX
from pipeline.errors import SourceError, StoreError, WrongFolder
from pipeline.remote.local import local_folder, refuse_data_address
from pipeline.store.derived import remove_derived
from pipeline.store.files import remove_file
from pipeline.store.layout import (
    DISSECTION_TABLE,
    EMBEDDINGS_TABLE,
    NAMES_TABLE,
    SEMANTICS_TABLE,
    THUMBNAILS_TABLE,
    foreign_files,
    holds_dissection,
    holds_embeddings,
    holds_names,
    holds_semantics,
    holds_thumbnails,
    own_parts,
    own_tables,
    part_files,
)
from pipeline.store.leftovers import writing
from pipeline.store.run_file import RUN_FILE, locked, read_run
from pipeline.store.trust import refuse_links
from pipeline.working_copies import address_of, copy_of, withdraw

__all__ = [
    "clean_index",
    "refuse_data_folder",
    "refuse_foreign_files",
    "refuse_nested_indexes",
    "remove_index",
    "remove_stale_names",
    "remove_stale_thumbnails",
]


def refuse_data_folder(out: Path, data: Iterable[str], cache: Path | str | None) -> None:
    """Refuse an OUT that is the dataset's folder, lies in it, or contains it.

    Args:
        out: folder of the index, which may not exist yet.
        data: arguments for `pipeline.data.dataset.open_dataset`.
        cache: folder of the demo dataset and of downloads; None is the default.

    Raises:
        StoreError: names both.
    """
    if copy_of(out) is not None:
        for argument in data:
            refuse_data_address(address_of(out), argument)
        return
    folder = Path(os.path.realpath(out))
    for argument in data:
        for place in _local_paths(argument, cache):
            real = Path(os.path.realpath(place))
            if folder == real:
                relation = "is"
            elif folder.is_relative_to(real):
                relation = "lies in"
            elif real.is_relative_to(folder):
                relation = "contains"
            else:
                continue
            raise WrongFolder(
                f"{out} {relation} the dataset {argument}; an index is not written among its images: give "
                f"an --out outside {real if real.is_dir() else real.parent}"
            )


def _local_paths(argument: str, cache: Path | str | None) -> list[str]:
    """The local folders and files that an argument stands for."""
    if argument == DEMO:
        return [str(Path(cache or default_cache()) / DEMO)]
    if is_url(argument) or argument.startswith(PREFIX):
        return []  # a download lies in the cache, in a folder that maxact chooses
    try:
        return expand(os.path.expanduser(argument)) if argument else []
    except SourceError:
        return []  # `open_dataset` says why


def refuse_foreign_files(out: Path) -> None:
    """Refuse an OUT in which a file that maxact did not write has the name of one of an index.

    Raises:
        StoreError: names the file.
    """
    for path in foreign_files(out) if out.is_dir() else ():
        raise StoreError(
            f"{path} was not written by maxact, and an index has a file of that name; give another --out, "
            "or move that file elsewhere (nothing was changed)"
        )


def refuse_nested_indexes(out: Path, sources: Sequence[Path]) -> None:
    """Refuse an OUT of a merge that lies in one of its sources, or has one among its own files.

    Raises:
        StoreError: names both.
    """
    folder = Path(os.path.realpath(out))
    for source in sources:
        real = Path(os.path.realpath(source))
        own = [folder / name for name in ("parts", "renders", "sheets", "projections", "prior", "atlas")]
        if folder != real and folder.is_relative_to(real):
            raise WrongFolder(f"{out} lies in {source}, which is merged into it; give an OUT outside it")
        if any(real.is_relative_to(each) for each in own):
            raise WrongFolder(f"{source} lies among the files of {out}; give another OUT")
    if not (out / RUN_FILE).exists() and (own_parts(out) or own_tables(out)):
        raise StoreError(
            f"{out} holds an index without {RUN_FILE}, which merging would replace; give another OUT"
        )


def remove_index(out: Path, *, keep: str) -> None:
    """Remove the files of an index from OUT and nothing else; run.json is removed last.

    Only files go that maxact has marked as its own. What was made from an index (renderings, sheets,
    projections, priors, the atlas, embeddings) stays if that index has the fingerprint `keep`.

    Raises:
        StoreError: when a file cannot be removed.
    """
    remove_derived(out, keep=keep, unmarked=_fingerprint(out))
    try:
        for path in own_parts(out):
            _remove_part(path)
        with contextlib.suppress(OSError):  # it has other files
            (out / "parts").rmdir()
    except OSError as error:
        raise StoreError(
            f"cannot remove the index in {out}: {error.strerror or error} ({error.filename})"
        ) from error
    withdraw(out / "parts")
    for path in own_tables(out):
        kept = path.name == EMBEDDINGS_TABLE and holds_embeddings(out, keep)
        if path.stem != "renders" and not kept:
            remove_file(path)
    remove_file(out / RUN_FILE)


def remove_stale_thumbnails(out: Path, fingerprint: str) -> None:
    """Remove thumbnails of another index than the one with a fingerprint.

    Raises:
        StoreError: when the file cannot be removed.
    """
    path = out / THUMBNAILS_TABLE
    if path in own_tables(out) and not holds_thumbnails(out, fingerprint):
        remove_file(path)


def remove_stale_names(out: Path, fingerprint: str) -> int:
    """Remove names, embeddings and what they or masks say of units, of another index than that.

    Returns:
        The number of files removed.

    Raises:
        StoreError: when a file cannot be removed.
    """
    held = {
        NAMES_TABLE: holds_names,
        EMBEDDINGS_TABLE: holds_embeddings,
        SEMANTICS_TABLE: holds_semantics,
        DISSECTION_TABLE: holds_dissection,
    }
    own = {path.name for path in own_tables(out)}
    stale = [name for name, holds in held.items() if name in own and not holds(out, fingerprint)]
    for name in stale:
        remove_file(out / name)
    return len(stale)


def clean_index(out: Path | str) -> int:
    """Remove what was made from another index than the one in OUT: names, embeddings, renderings, pages.

    Those of older versions, which do not say from which index they were made, are removed as well.

    Returns:
        The number of renderings and files removed.

    Raises:
        StoreError: when OUT holds no index, another process works there, or a file cannot be removed.
    """
    out = local_folder(out, "**")
    refuse_links(out)
    fingerprint = str(read_run(out)["fingerprint"])
    with locked(out), writing(out, alone=True):
        return remove_derived(out, keep=fingerprint) + remove_stale_names(out, fingerprint)


def _fingerprint(out: Path) -> str:
    """The fingerprint in a run.json of any version; empty if there is none."""
    try:
        content = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
        return str(content["fingerprint"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def _remove_part(path: Path) -> None:
    """Remove a commit file, or the folder of a part; other files in it stay."""
    if not path.is_dir() or path.is_symlink():
        path.unlink()
        return
    for file in part_files(path):
        file.unlink()
    with contextlib.suppress(OSError):
        path.rmdir()
