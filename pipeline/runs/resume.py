"""The run that OUT holds already, and whether a new run can resume it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.data.shard import Shard
from pipeline.errors import DamagedFile, FingerprintMismatch, StoreError
from pipeline.progress import Reporter
from pipeline.runs.fingerprint import refuse_mismatch
from pipeline.state.commit import Commit, list_commits, remove_part
from pipeline.state.commit_file import AGAIN
from pipeline.store.final_tables import damaged_tables
from pipeline.store.layout import MADE_TABLES, own_parts, own_tables
from pipeline.store.run_file import RUN_FILE, read_run
from pipeline.working_copies import copy_of, names_at, publish, pull

__all__ = [
    "fetch_parts",
    "is_finished",
    "previous_run",
    "recorded_compile",
    "refuse_lost_shards",
    "usable_commits",
]


def previous_run(
    out: Path,
    identity: Mapping[str, Any],
    fields: Mapping[str, Any],
    shards: Sequence[Shard],
    reporter: Reporter,
) -> dict[str, Any] | None:
    """The run that OUT holds, which must have the same fields; None when there is none.

    An unfinished run can be resumed after its dataset was repaired or extended, as long as the
    shards that are committed have not changed. If run.json itself is damaged, the parts remain,
    whose commit files have the fingerprint of the fields.

    Args:
        out: folder of the index.
        identity: of the run to do: its fields and the listing of its dataset.
        fields: of the run to do: everything except the dataset that affects a result.
        shards: of the dataset.
        reporter: told of a damaged run.json.

    Raises:
        FingerprintMismatch: when OUT holds another run.
        StoreError: when run.json is missing or incomplete, so that the runs cannot be compared.
    """
    if not (out / RUN_FILE).exists():
        if own_parts(out) or any(path.name not in MADE_TABLES for path in own_tables(out)):
            raise StoreError(f"{out} holds tables of an index but no {RUN_FILE}; --fresh removes them")
        return None
    try:
        run = read_run(out)
    except DamagedFile as error:
        reporter.note(f"{error.args[0].split(';')[0]}; it is written anew")
        _refuse_changed_shards(out, shards)
        return None
    if missing := {"status", "identity", "fields", "counts", "config"} - run.keys():
        raise StoreError(
            f"{out / RUN_FILE} has no {' and no '.join(sorted(missing))}, so it cannot be compared "
            "with this run; give another --out, or --fresh to start over"
        )
    refuse_mismatch(out, run["fields"], fields)
    if run["status"] != "complete" and run["identity"] != identity:
        _refuse_changed_shards(out, shards)
    elif run["identity"] != identity:
        raise FingerprintMismatch(
            f"{out} holds the finished index of another dataset: it had "
            f"{run['identity']['dataset']}, now {identity['dataset']}. To add shards, index them "
            "into another --out and merge both with `maxact merge`; --fresh starts over"
        )
    return run


def is_finished(
    out: Path,
    run: Mapping[str, Any],
    classes: int | None,
    reporter: Reporter,
    *,
    class_names: Sequence[str] | None = None,
    names_given: bool = False,
) -> bool:
    """Whether a run is complete, its tables are intact, and they have what is asked for.

    Args:
        out: folder of the index.
        run: content of its run.json.
        classes: labels per unit.
        reporter: told of damage.
        class_names: names of the classifier's units.
        names_given: whether they are used for labels too.
    """
    names = None if class_names is None else list(class_names)
    same = run["network"]["classes"] == names and bool(run["config"].get("class_names")) == names_given
    if run["status"] != "complete" or run["config"].get("classes") != classes or not same:
        return False
    damaged = damaged_tables(out, run, whole=True)
    if damaged:
        listed = ", ".join(f"{out / name}.parquet {damage}" for name, damage in damaged.items())
        reporter.note(f"{listed}; the tables are written again from the parts")
    return not damaged


def recorded_compile(out: Path) -> bool | None:
    """Whether the run in OUT was compiled; None when OUT holds no run."""
    try:
        compiled = read_run(out)["fields"]["compiled"]
    except (StoreError, KeyError, TypeError):
        return None
    return bool(compiled)


def usable_commits(parts: Path, fingerprint: str, reporter: Reporter) -> tuple[Commit, ...]:
    """The commits that a run can resume from; a damaged part is removed, to be indexed again.

    Of parts at an address only the commit files are read, and it is seen that the others are there: they are
    fetched and verified when they are merged, see `fetch_parts`.

    Args:
        parts: the folder of all parts.
        fingerprint: of the run to do, without its dataset.
        reporter: told of damaged parts.

    Raises:
        FingerprintMismatch: when a part belongs to another run.
        StoreError: when a part cannot be read, or a damaged one cannot be removed.
    """

    def remove(path: Path, error: DamagedFile) -> None:
        reporter.note(f"{error.args[0].split(';')[0]}; its shards are indexed again")
        remove_part(path)

    usable = []
    afar = None if copy_of(parts.parent) is None else names_at(parts.parent, "parts/*")
    for commit in list_commits(parts, fingerprint=fingerprint, damaged=remove):
        try:
            if afar is None:
                commit.verify()
            else:
                _refuse_missing(commit, afar)
        except DamagedFile as error:
            remove(commit.path, error)
        else:
            usable.append(commit)
    return tuple(usable)


def _refuse_missing(commit: Commit, afar: Collection[str]) -> None:
    """Refuse a part of which a file is not at the address of OUT."""
    for path in commit.files:
        if path.relative_to(commit.path.parent.parent).as_posix() not in afar:
            raise DamagedFile(f"{path} is missing; {AGAIN}")


def fetch_parts(out: Path, fingerprint: str) -> None:
    """Fetch and verify the parts of an OUT at an address, where other machines may have committed some.

    A damaged part is removed there.

    Raises:
        DamagedFile: when a part is not as it was committed; the same command indexes it again.
    """
    if copy_of(out) is None:
        return
    pull(out, "parts/*")
    problems: list[str] = []

    def remove(path: Path, error: DamagedFile) -> None:
        problems.append(str(error))
        remove_part(path)

    for commit in list_commits(out / "parts", fingerprint=fingerprint, damaged=remove):
        try:
            commit.verify()
        except DamagedFile as error:
            remove(commit.path, error)
    if problems:
        publish(out)
        raise DamagedFile(problems[0])


def refuse_lost_shards(out: Path, commits: Iterable[Commit], shards: Sequence[Shard]) -> None:
    """Refuse to merge fewer shards than were indexed, as when another machine started over in OUT meanwhile.

    Raises:
        StoreError: names one that is in no part.
    """
    committed = {record.name for commit in commits for record in commit.shards}
    lost = [shard.name for shard in shards if shard.name not in committed]
    if lost:
        more = f" (and those of {len(lost) - 1:,} more)" if len(lost) > 1 else ""
        raise StoreError(
            f"the part of shard {lost[0]}{more} was removed from {out} while this command ran; run the same "
            "command again"
        )


def _refuse_changed_shards(out: Path, shards: Sequence[Shard]) -> None:
    present = {shard.name: (shard.size, shard.digest) for shard in shards}
    commits = list_commits(out / "parts", damaged=lambda path, error: None)
    for record in (shard for commit in commits for shard in commit.shards):
        if present.get(record.name) != (record.size, record.digest):
            change = "has changed" if record.name in present else "no longer exists"
            raise FingerprintMismatch(
                f"shard {record.name}, which is committed in {out}, {change}. Give another --out, or "
                "--fresh to remove that run and start over"
            )
