"""Checks an index: its tables with each other, with its parts, with its dataset and its network.

Four tests, from cheap to dear; docs/checking.md says what each finds.

1. The files and `run.json` agree, and every rule between the tables holds (`structure`, `consistency`).
2. The tables are those that a merge of the verified parts gives (`rebuild`, `contents`), and agree with the
   peaks of all images, where they are kept (`kept_peaks`).
3. The shards of the dataset contain what `images` and `errors` say (`contents`).
4. A sample of images gives the recorded peaks when the network runs again (`rerun`, `recount`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.check.choice import Choice, choose_images
from pipeline.check.consistency import check_consistency
from pipeline.check.contents import check_contents, check_shards, choose_shards, compare_listing
from pipeline.check.findings import Discrepancy, Findings
from pipeline.check.kept_peaks import check_kept_peaks
from pipeline.check.labels import labels_by_name
from pipeline.check.rebuild import check_commits, compare_with_parts
from pipeline.check.rerun import Rerun, check_network, run_again
from pipeline.check.structure import check_counts, check_files, check_run
from pipeline.errors import MaxactError, StoreError, UnreadableFile
from pipeline.networks.network import Network, recorded_network
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index, open_index
from pipeline.remote.local import local_folder
from pipeline.runs.shard_groups import indexed_range
from pipeline.state.commit import Commit, list_commits
from pipeline.state.part import ShardRecord
from pipeline.store.final_tables import has_digests, refuse_damaged_tables
from pipeline.store.run_file import read_finished_run
from pipeline.store.trust import is_own, refuse_links

__all__ = ["DEFAULT_SAMPLE", "MAX_SHOWN", "Audit", "check_index"]

DEFAULT_SAMPLE = 128
"""Images that are run again: if 5 % of the listed ones are forged, 64 draws miss all in 4 % of cases."""

MAX_SHOWN = 10
"""Discrepancies that the command line prints."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The result of a check.

    Args:
        choice: the images that were run again; None when the tables were too damaged for that.
        peaks: recorded peaks compared with those of these images.
        absences: (image, unit) pairs that are not on a list and were compared with its k-th peak.
        worst: the largest difference of an activation within the tolerance, relative as
            `pipeline.check.rerun.TOLERANCE` is.
        rebuilt: whether the tables were compared with a merge of the parts.
        shards: how many of the dataset were read again and compared.
        all_shards: how many the dataset has.
        discrepancies: the first ones of every test.
        found: the number of all.
        notes: what could not be tested, and why.
    """

    choice: Choice | None
    peaks: int
    absences: int
    worst: float
    rebuilt: bool
    shards: int
    all_shards: int
    discrepancies: tuple[Discrepancy, ...]
    found: int
    notes: tuple[str, ...]

    @property
    def images(self) -> int:
        """How many images were run again."""
        return 0 if self.choice is None else len(self.choice.image_ids)


@dataclass(slots=True)
class _Progress:
    """What a check has done so far; becomes an `Audit`."""

    findings: list[Findings] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    choice: Choice | None = None
    rerun: Rerun | None = None
    rebuilt: bool = False
    shards: int = 0
    all_shards: int = 0

    @property
    def found(self) -> int:
        """Discrepancies so far."""
        return sum(findings.total for findings in self.findings)

    def audit(self) -> Audit:
        """The result."""
        return Audit(
            self.choice,
            self.rerun.peaks if self.rerun else 0,
            self.rerun.absences if self.rerun else 0,
            self.rerun.worst if self.rerun else 0.0,
            self.rebuilt,
            self.shards,
            self.all_shards,
            tuple(found for findings in self.findings for found in findings.kept),
            self.found,
            tuple(self.notes),
        )


def check_index(
    out: Path | str,
    *,
    sample: int | None = DEFAULT_SAMPLE,
    seed: int = 0,
    network: Network | str | None = None,
    weights: str | Path | None = None,
    trust: bool = False,
    data: Path | str | Sequence[Path | str] = (),
    cache: Path | None = None,
    reporter: Reporter | None = None,
) -> Audit:
    """Check an index with all four tests.

    Args:
        out: folder of a finished index.
        sample: images to run again, half of them drawn from those that lists name; of an index with
            fewer, all. None for all images, of which all statistics are then computed again, and for
            all shards of the dataset. 0 for the first two tests, which need neither of them.
        seed: of the choice of images and shards.
        network: used instead of the one that the run names; a name is loaded.
        weights: a file, instead of the one that the run names.
        trust: load what the index names although another user made it.
        data: where the dataset is, if it has moved; see `pipeline.data.moved.open_moved`.
        cache: folder of measured receptive fields; None to measure them again.
        reporter: shows the progress.

    Raises:
        DamagedFile: when a table is not what run.json recorded; `repair` writes it again.
        WeightsError: when the network loaded now is not the one that was indexed.
        AuditError: when an image cannot be read back or decoded.
        UnreadableFile: when a file of a part cannot be read for the moment.
        UntrustedIndex: when the index names code or files, and is not trusted.
        MaxactError: when the dataset or the network cannot be opened, and nothing wrong was found
            before; else that is a discrepancy too.
    """
    reporter, out = reporter or Silent(), local_folder(out, "*", "parts/*")
    run = read_finished_run(out)
    if not trust:
        refuse_links(out)
    refuse_damaged_tables(out, run, whole=True)
    if not has_digests(run):
        reporter.note(f"{out} has no digests of its tables; `maxact repair {out}` adds them")
    progress = _Progress()
    files, recorded = check_files(out, run), check_run(run)
    progress.findings += [files, recorded]
    if files.total:
        progress.notes.append("the tables could not be compared further")
        return progress.audit()
    with open_index(out, data=data, trust=trust) as index:
        try:
            _check_tables(index, progress, reporter)
            commits = _commits(out, progress)
            labels = labels_by_name(run, commits)
            records = _check_parts(index, commits, labels, progress, reporter, trusted=not recorded.total)
            peaks = bool(commits) and not recorded.total and _check_peaks(index, progress, reporter)
            if sample == 0:
                return progress.audit()
            if not isinstance(network, Network):
                trusted = trust or is_own(run)
                network = recorded_network(out, run, network=network, weights=weights, trusted=trusted)
            progress.findings.append(check_network(index, network, cache))
            _check_dataset(index, records, labels, sample, seed, progress, reporter)
            if run["config"]["decoder"] == "nvjpeg":
                progress.notes.append(
                    "no image is run again: nvJPEG decoded them, on the CPU they have other pixels"
                )
                return progress.audit()
            progress.choice = choose_images(index, sample, seed)
            progress.rerun = run_again(index, network, progress.choice, reporter, peaks=peaks)
            progress.findings += progress.rerun.findings
        except MaxactError as error:
            if not progress.found or isinstance(error, UnreadableFile):
                raise
            findings = Findings()
            findings.add(Discrepancy.of_index(f"the check ended here: {error}"))
            progress.findings.append(findings)
    return progress.audit()


def _check_tables(index: Index, progress: _Progress, reporter: Reporter) -> None:
    """The rules between the tables, and with the counts of run.json."""
    progress.findings.append(check_counts(index))
    with reporter.task("comparing tables", None, "rules") as task:
        for findings in check_consistency(index, top=index.run["config"]["top"]):
            progress.findings.append(findings)
            task.advance()


def _check_parts(
    index: Index,
    commits: tuple[Commit, ...],
    labels: Mapping[str, str],
    progress: _Progress,
    reporter: Reporter,
    *,
    trusted: bool,
) -> tuple[ShardRecord, ...]:
    """Compare the tables with the parts; returns the shards of the parts."""
    if not commits:
        progress.notes.append(
            f"{index.out / 'parts'} has no parts: statistics, histograms and sums per label could not be "
            "compared with what they were merged from"
        )
        return ()
    records = tuple(sorted((shard for commit in commits for shard in commit.shards), key=lambda s: s.name))
    if not trusted:
        progress.notes.append("the parts were not merged, because run.json is wrong")
        return records
    verified = check_commits(index.run, commits)
    progress.findings.append(verified)
    if verified.total:
        progress.notes.append("the tables were not compared with a merge of the parts, which are damaged")
        return records
    progress.findings += compare_with_parts(index.out, index.run, commits, reporter)
    progress.findings.append(check_contents(index, records, labels))
    progress.rebuilt = True
    return records


def _check_peaks(index: Index, progress: _Progress, reporter: Reporter) -> bool:
    """Compare kept peaks with the tables; returns whether there are some that images can be compared with."""
    if not index.keeps_peaks:
        return False
    try:
        progress.findings.append(check_kept_peaks(index, reporter))
    except UnreadableFile:
        raise
    except StoreError as error:
        findings = Findings()
        findings.add(Discrepancy.of_index(str(error)))
        progress.findings.append(findings)
        return False
    return True


def _commits(out: Path, progress: _Progress) -> tuple[Commit, ...]:
    try:
        return list_commits(out / "parts", clear=False)
    except StoreError as error:
        findings = Findings()
        findings.add(Discrepancy.of_index(str(error)))
        progress.findings.append(findings)
        return ()


def _check_dataset(
    index: Index,
    records: tuple[ShardRecord, ...],
    labels: Mapping[str, str],
    sample: int | None,
    seed: int,
    progress: _Progress,
    reporter: Reporter,
) -> None:
    """Compare with the dataset: its listing, and the samples of some shards."""
    dataset = indexed_range(index.dataset, index.run["config"])
    if records:
        progress.findings.append(compare_listing(dataset, records))
    chosen = choose_shards(dataset, everything=sample is None, seed=seed)
    progress.shards, progress.all_shards = len(chosen), len(dataset.shards)
    progress.findings.append(check_shards(index, chosen, labels, reporter))
