"""A run from its configuration to its tables: plan, index missing shards, merge.

OUT/run.json is written when the run starts, with status `incomplete`, and again when the tables are
written, with status `complete`. Between the two only parts are added, so the same command resumes an
interrupted run after its last commit.
"""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pipeline.choices import PeakFormat
from pipeline.config import RunConfig
from pipeline.data.dataset import Dataset, Shard, default_cache, open_dataset
from pipeline.devices import resolve_precision, tell_of_bf16
from pipeline.engines.engine import Engine
from pipeline.engines.index_work import IndexWork, index_groups
from pipeline.engines.open_engine import open_engine
from pipeline.engines.sameness import identify
from pipeline.errors import MissingSource, ShardError
from pipeline.images.nvjpeg import resolve_decoder
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.class_names import read_class_names
from pipeline.networks.network import Network, load_network
from pipeline.progress import Reporter, Silent, readable_bytes, readable_count
from pipeline.remote.local import local_folder
from pipeline.runs.fingerprint import fingerprint, fingerprint_fields, run_identity
from pipeline.runs.names import write_names
from pipeline.runs.out_folder import (
    refuse_data_folder,
    refuse_foreign_files,
    remove_index,
    remove_stale_thumbnails,
)
from pipeline.runs.resume import (
    fetch_parts,
    is_finished,
    previous_run,
    recorded_compile,
    refuse_lost_shards,
    usable_commits,
)
from pipeline.runs.same_data import refuse_replaced_shards
from pipeline.runs.shard_groups import divide, in_range, shards_per_part
from pipeline.runs.thumbnails import write_thumbnails
from pipeline.runs.unit_tables import write_index
from pipeline.state.commit import list_commits
from pipeline.store.digests import digest_file
from pipeline.store.layout import THUMBNAILS_TABLE, holds_thumbnails
from pipeline.store.leftovers import writing
from pipeline.store.peak_files import peak_bytes
from pipeline.store.run_file import RunSummary, finish_run, locked, write_run
from pipeline.store.schemas import SCHEMA_VERSION
from pipeline.store.trust import SIGNATURE, is_own, sign_run
from pipeline.stream.compiled_probes import can_compile
from pipeline.working_copies import address_of, copy_of, publish

__all__ = ["run_index"]

COMPILE_IMAGES = 20_000
"""Images from which compiling saves time: it takes about a minute and saves some 10 ms an image."""


_MADE_FILES = ("renders/*", "sheets/*", "projections/*", "prior/*", "atlas/*")
"""Files that are made from an index, and stay when the same index is made anew."""


@dataclass(frozen=True, slots=True)
class _Plan:
    config: RunConfig
    dataset: Dataset
    network: Network
    layers: tuple[Layer, ...]
    engine: Engine
    compiled: bool
    fields: dict[str, Any]
    given: bool

    @property
    def identity(self) -> dict[str, Any]:
        """The fields and the listing of the dataset."""
        return run_identity(self.fields, len(self.dataset.shards), self.dataset.listing)


def run_index(
    config: RunConfig,
    *,
    network: Network | None = None,
    dataset: Dataset | None = None,
    reporter: Reporter | None = None,
    engine: Engine | None = None,
) -> RunSummary:
    """Index a dataset, or finish an interrupted run of the same configuration.

    Args:
        config: of the run.
        network: used instead of loading `config.network`; run.json then has its own name.
        dataset: used instead of opening `config.data`.
        reporter: shows the progress.
        engine: used instead of opening the one that the configuration names.

    Raises:
        MaxactError: see `pipeline.errors`; parts committed so far are kept.
    """
    reporter = reporter or Silent()
    started = time.monotonic()
    data = config.as_json()["data"] if dataset is None else dataset.data
    # A run that starts over reads no part, but what may be of another index.
    wanted = ("*", *_MADE_FILES) if config.fresh else ("*", "parts/*.json")
    config = replace(config, out=local_folder(config.out, *wanted, cache=config.cache))
    refuse_data_folder(config.out, data, config.cache)
    refuse_foreign_files(config.out)
    opened = open_engine(config.spread, config.device) if engine is None else nullcontext(engine)
    with opened as found:
        plan = _plan(config, network, dataset, found, reporter)
        with locked(config.out):
            if config.fresh:
                with writing(config.out, alone=True):
                    remove_index(config.out, keep=fingerprint(plan.identity))
            with writing(config.out):
                return _run(plan, reporter, started)


def _plan(
    config: RunConfig,
    network: Network | None,
    dataset: Dataset | None,
    engine: Engine,
    reporter: Reporter,
) -> _Plan:
    names = None if config.class_names is None else read_class_names(Path(config.class_names))
    dataset = dataset or open_dataset(config.data, cache=config.cache, reporter=reporter)
    _check_shards(dataset)
    whole = dataset
    if config.range is not None:
        size = shards_per_part(dataset, config)
        dataset = in_range(dataset, *config.range, size)
        config = replace(config, shards_per_part=size)
    # The code of a network passed in may change between runs: its receptive fields are not cached.
    fields_folder = None if network else (config.cache or default_cache()) / "fields"
    given = network is not None and network.name != config.network
    network = network or load_network(
        config.network, weights=config.weights, input=config.input, directions=config.directions
    )
    reporter.note(
        f"network {network.name}, weights {network.weights}; "
        f"dataset {dataset.name}, {readable_count(len(dataset.shards), 'shard')}"
    )
    for note in network.notes:
        reporter.note(note)
    layers = choose_layers(network, config.layers, kind=config.kind, cache=fields_folder)
    if names is not None:
        network = _named(network, names, layers[-1], reporter)
    device = engine.device
    if config.threads:
        torch.set_num_threads(config.threads)
    # From the whole dataset, so that the runs over its ranges decide alike and can be merged.
    compiled, why = _decide_compile(config, whole, engine)
    units = readable_count(sum(layer.units for layer in layers), "unit")
    reporter.note(f"{readable_count(len(layers), 'layer')}, {units}; {why}")
    if config.kept_peaks is not None:
        reporter.note(_size_of_peaks(dataset, sum(layer.units for layer in layers), config.kept_peaks))
    if config.precision != "fp32":
        if told := engine.ask(tell_of_bf16, config.precision, device):
            reporter.note(told)
        # What is recorded and hashed is the number format that is computed in.
        config = replace(config, precision=engine.ask(resolve_precision, config.precision, device))
    if config.decoder in ("auto", "nvjpeg"):
        config = replace(config, decoder=engine.ask(resolve_decoder, config.decoder, device))
        reporter.note(f"decoder {config.decoder}")
    fields = fingerprint_fields(
        replace(config, network=network.name) if given else config,
        digest=network.digest,
        preprocess=network.preprocess,
        layers=layers,
        compiled=compiled,
        device=device.type,
    )
    return _Plan(config, dataset, network, layers, engine, compiled, fields, given)


def _size_of_peaks(dataset: Dataset, units: int, kept: PeakFormat) -> str:
    """How much room the peaks of all images will take."""
    each = f"{units:,} units x {peak_bytes(1, 1, kept)} bytes"
    images = dataset.estimated_images
    if images is None:
        return f"peaks: for each image {each} = {readable_bytes(peak_bytes(1, units, kept))}"
    counted = all(shard.count_hint is not None for shard in dataset.shards)
    about = "" if counted else "about "
    return f"peaks: {about}{images:,} images x {each} = {readable_bytes(peak_bytes(images, units, kept))}"


def _named(network: Network, names: tuple[str, ...], last: Layer, reporter: Reporter) -> Network:
    """The network with other class names."""
    if len(names) != last.units:
        reporter.note(
            f"there are {readable_count(len(names), 'class name')}, the last layer, {last.name}, has "
            f"{readable_count(last.units, 'unit')}: the names are not used for units"
        )
    return replace(network, classes=names)


def _run(plan: _Plan, reporter: Reporter, started: float) -> RunSummary:
    config, out = plan.config, plan.config.out
    parts = out / "parts"
    shards = plan.dataset.shards
    wanted = fingerprint(plan.fields)
    previous = previous_run(out, plan.identity, plan.fields, shards, reporter)
    commits = usable_commits(parts, wanted, reporter)
    publish(out)  # parts found damaged are removed at the address before they are committed again
    refuse_replaced_shards(out, commits, shards, reporter)
    done = {shard.name for commit in commits for shard in commit.shards}
    named = config.class_names is not None
    finished = previous is not None and is_finished(
        out, previous, config.classes, reporter, class_names=plan.network.classes, names_given=named
    )
    kept = "patches" not in config.keep or holds_thumbnails(out, fingerprint(plan.identity))
    if previous is not None and finished and kept and len(done) == len(shards):
        _sign_again(plan, previous, reporter)
        reporter.note(f"{out} is complete; nothing to do (--fresh starts over)")
        counts = previous["counts"]
        return RunSummary(
            out,
            counts["images"],
            counts["errors"],
            counts["units"],
            counts["layers"],
            len(done),
            time.monotonic() - started,
        )
    content = sign_run(_run_content(plan), reporter)
    write_run(out, content)
    if done:
        reporter.note(
            f"resuming: skipping {len(done):,} of {readable_count(len(shards), 'shard')}, already committed"
        )
    groups = _groups(plan, done)
    if groups:
        index_groups(
            plan.engine,
            _work(plan, parts, wanted),
            groups,
            images_per_byte=_images_per_byte(plan.dataset),
            reporter=reporter,
        )
    fetch_parts(out, wanted)
    committed = list_commits(parts, fingerprint=wanted)
    refuse_lost_shards(out, committed, shards)
    totals = write_index(
        out,
        plan.layers,
        committed,
        fingerprint=content["fingerprint"],
        classes=config.classes,
        class_names=plan.network.classes if named else None,
        network_classes=plan.network.classes,
        reporter=reporter,
        engine=plan.engine if copy_of(out) is None else None,  # only this process has its parts
    )
    named_units = write_names(
        out,
        plan.layers,
        committed,
        index_fingerprint=content["fingerprint"],
        class_names=plan.network.classes if named else None,
        reporter=reporter,
    )
    if named_units is not None:
        reporter.note(str(named_units))
    remove_stale_thumbnails(out, content["fingerprint"])
    if "patches" in config.keep:
        write_thumbnails(
            out,
            plan.dataset,
            plan.network.preprocess,
            footer={"maxact.fingerprint": content["fingerprint"]},
            workers=config.workers,
            reporter=reporter,
        )
    thumbnails = out / THUMBNAILS_TABLE
    if thumbnails.exists():
        content["thumbnails"] = asdict(digest_file(thumbnails))
    return finish_run(out, content, totals, len(done), time.monotonic() - started)


def _work(plan: _Plan, parts: Path, wanted: str) -> IndexWork:
    """What is done with every group of shards."""
    work = IndexWork(plan.config, plan.network, plan.layers, parts, wanted, plan.compiled)
    if not plan.engine.is_apart:
        return work
    identity = identify(plan.network.module, plan.engine.device)
    address = "" if copy_of(parts.parent) is None else address_of(parts.parent)
    return replace(
        work, identity=identity, places=plan.dataset.places, parts=parts.absolute(), address=address
    )


def _sign_again(plan: _Plan, previous: dict[str, Any], reporter: Reporter) -> None:
    """Sign a complete run of another user, or of before there were signatures: its names are given again."""
    if is_own(previous):
        return
    dataset = {**previous["dataset"], "data": list(plan.dataset.data)}
    named = sign_run({**previous, "config": plan.config.as_json(), "dataset": dataset}, reporter)
    if SIGNATURE in named:
        write_run(plan.config.out, named)


def _images_per_byte(dataset: Dataset) -> float | None:
    images = dataset.estimated_images
    return None if images is None or not dataset.size else images / dataset.size


def _check_shards(dataset: Dataset) -> None:
    if not dataset.shards:
        raise MissingSource(f"{dataset.name} holds no images")
    for name, count in Counter(shard.name for shard in dataset.shards).items():
        if count > 1:
            raise ShardError(name, "occurs twice in the dataset; names of shards must be unique")


def _groups(plan: _Plan, done: set[str]) -> list[list[Shard]]:
    """The shards still to index, in the groups that an uninterrupted run would commit."""
    shards = plan.dataset.shards
    groups = divide(shards, shards_per_part(plan.dataset, plan.config, plan.engine.slots))
    waiting = [[shard for shard in group if shard.name not in done] for group in groups]
    return [group for group in waiting if group]


def _run_content(plan: _Plan) -> dict[str, Any]:
    network = plan.network
    return {
        "schema_version": SCHEMA_VERSION,
        "status": "incomplete",
        "fingerprint": fingerprint(plan.identity),
        "fields": plan.fields,
        "identity": plan.identity,
        "config": {**plan.config.as_json(), **({"network": None} if plan.given else {})},
        "network": {
            "name": network.name,
            "weights": network.weights,
            "digest": network.digest,
            "classes": list(network.classes) if network.classes else None,
        },
        "preprocess": asdict(network.preprocess),
        "layers": [layer.record() for layer in plan.layers],
        "dataset": {
            "name": plan.dataset.name,
            "data": list(plan.dataset.data),
            "shards": len(plan.dataset.shards),
        },
        "counts": {},
        "timings": {},
        "versions": {
            "python": platform.python_version(),
            **{
                name: importlib.metadata.version(name)
                for name in ("torch", "torchvision", "timm", "numpy", "pyarrow", "duckdb", "pillow")
            },
        },
    }


def _decide_compile(config: RunConfig, dataset: Dataset, engine: Engine) -> tuple[bool, str]:
    """Whether to compile, and a message with the reason."""
    if config.compile != "auto":
        return config.compile == "on", f"compile {config.compile}, as requested"
    decided = None if config.fresh else recorded_compile(config.out)
    if decided is not None:
        return decided, f"compile {'on' if decided else 'off'}, as in the run in {config.out}"
    if not engine.ask(can_compile, engine.device.type):
        return False, "compile off: no C++ compiler (CPU) or Triton (GPU) was found"
    images = dataset.estimated_images
    if images is None:
        return False, "compile off: the size of the dataset is not known"
    large = images >= COMPILE_IMAGES
    return large, (
        f"compile {'on' if large else 'off'}: about {images:,} images; it saves time from {COMPILE_IMAGES:,}"
    )
