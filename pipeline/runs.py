"""Several runs over shards of one dataset become one index."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.config import refuse_mismatch
from pipeline.errors import StoreError
from pipeline.final import write_index
from pipeline.layers import Layer
from pipeline.manifest import RUN_FILE, RunSummary, finish_run, locked, read_run
from pipeline.merge import choose_disjoint
from pipeline.parts import copy_part, list_commits
from pipeline.progress import Reporter, Silent

__all__ = ["merge_runs"]


def merge_runs(
    out: Path, sources: Sequence[Path], *, reporter: Reporter | None = None
) -> RunSummary:
    """Merge finished or interrupted runs over shards of one dataset into a new index.

    Args:
        out: the folder to write; may be one of the sources.
        sources: folders that `maxact index` wrote, of the same fingerprint.
        reporter: told of the progress.

    Raises:
        FingerprintMismatch: when the runs differ in more than their shards.
        StoreError: when parts overlap so that some shards cannot be counted exactly once.
    """
    reporter = reporter or Silent()
    started = time.monotonic()
    runs = [read_run(source) for source in sources]
    for source, run in zip(sources[1:], runs[1:], strict=True):
        refuse_mismatch(source, run["fields"], runs[0]["fields"])
    commits = [commit for source in sources for commit in list_commits(source / "parts")]
    sizes: dict[str, int] = {}
    for commit in commits:
        for shard in commit.shards:
            if sizes.setdefault(shard.name, shard.size) != shard.size:
                raise StoreError(
                    f"shard {shard.name} has {sizes[shard.name]} bytes in one run and "
                    f"{shard.size} in another; these are not runs over one dataset"
                )
    chosen, lost = choose_disjoint(commits)
    if lost:
        raise StoreError(
            f"{len(lost)} shards ({', '.join(lost[:3])}{', ...' if len(lost) > 3 else ''}) were "
            "committed together with shards that another run holds too, and can be neither "
            "counted twice nor taken apart; index the runs with --shards-per-part 1, or over "
            "shards that do not overlap"
        )
    if out not in sources and (out / RUN_FILE).exists():
        refuse_mismatch(out, read_run(out)["fields"], runs[0]["fields"])
    with locked(out):
        (out / "parts").mkdir(exist_ok=True)
        kept = tuple(copy_part(commit, out / "parts") for commit in chosen)
        for commit in list_commits(out / "parts"):
            if commit.path not in {item.path for item in kept}:
                commit.path.unlink()
                shutil.rmtree(commit.folder, ignore_errors=True)
        content = dict(runs[0])
        data = list(dict.fromkeys(item for run in runs for item in run["dataset"]["data"]))
        content["dataset"] = {**content["dataset"], "data": data}
        content["merged_from"] = [str(source) for source in sources]
        layers = tuple(Layer(**layer) for layer in content["layers"])
        totals = write_index(
            out,
            layers,
            kept,
            fingerprint=content["fingerprint"],
            classes=content["config"]["classes"],
            reporter=reporter,
        )
        return finish_run(out, content, totals, 0, time.monotonic() - started)
