"""What a run is asked to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from pipeline.choices import (
    AskedDecoder,
    AskedPrecision,
    Compile,
    EngineName,
    IndexDevice,
    Keep,
    Kind,
    MemoryFormat,
    PeakFormat,
    Score,
)
from pipeline.errors import UsageError
from pipeline.working_copies import address_of, is_address

__all__ = ["EngineConfig", "RunConfig", "read_range"]

_MAX_TOP = 1024

_ADDRESS = re.compile(r"auto|ray://[^\s/:]+(:\d{1,5})?|[^\s/:]+:\d{1,5}", re.ASCII)

_WORDS = {
    "kind": Kind,
    "score": Score,
    "precision": AskedPrecision,
    "memory_format": MemoryFormat,
    "compile": Compile,
    "decoder": AskedDecoder,
    "device": IndexDevice,
}
"""Fields to the words that they take."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What spreads work over processes and machines.

    All but the name are for `ray`.

    Args:
        name: `local` is this machine, `ray` a Ray cluster.
        address: `auto` is the cluster that runs on this machine, `ray://HOST:PORT` a remote one through its
            client server, `HOST:PORT` the head node of one; None for the one that `RAY_ADDRESS` names,
            else a new one on this machine, which ends with the command.
        gpus_per_task: GPUs of a task; a fraction lets several tasks share one. None for 1 on clusters with
            GPUs, else 0.
        cpus_per_task: cores of a task; None for an equal share of the cores of its node for each GPU
            task, or 1.
        shards_per_task: shards that one task indexes and commits; None for a number that gives every task
            slot four of them or more, at most 64.

    Raises:
        UsageError: when a value is out of range, or given without `ray`.
    """

    name: EngineName = "local"
    address: str | None = None
    gpus_per_task: float | None = None
    cpus_per_task: int | None = None
    shards_per_task: int | None = None

    def __post_init__(self) -> None:
        if self.name not in get_args(EngineName):
            known = " or ".join(get_args(EngineName))
            raise UsageError(f"--engine must be {known}, got {self.name!r}")
        given = [
            name
            for name in ("address", "gpus_per_task", "cpus_per_task", "shards_per_task")
            if getattr(self, name) is not None
        ]
        if self.name != "ray" and given:
            raise UsageError(f"--{given[0].replace('_', '-')} is for --engine ray; add it, or leave this out")
        for name in ("cpus_per_task", "shards_per_task"):
            value = getattr(self, name)
            if value is not None:
                _check_range(name.replace("_", "-"), value, 1, 1 << 20)
        gpus = self.gpus_per_task
        if gpus is not None and not (0 <= gpus <= 1 or (1 < gpus <= 64 and float(gpus).is_integer())):
            raise UsageError(f"--gpus-per-task must be 0..1, or a whole number to 64, got {gpus:g}")
        if self.address is not None and not _ADDRESS.fullmatch(self.address):
            raise UsageError(f"--address must be auto, ray://HOST:PORT or HOST:PORT, got {self.address!r}")


@dataclass(frozen=True, slots=True)
class RunConfig:
    """One indexing run.

    Where several values can be given (`data`, `input`, `directions`, `layers`, `keep`), a single
    string or path is one value.

    Args:
        data: folders, tar shards, Parquet files, URLs, brace patterns, or `demo`.
        out: the folder that will hold the index; as a text also its address, such as `s3://bucket/run`.
        network: a name that `pipeline.networks.network.load_network` knows.
        weights: a file, `random`, or None for the published weights.
        input: KEY=VALUE replacing parts of the preprocessing, see `pipeline.networks.preprocess_options`.
        directions: files whose rows become units of extra layers, see `pipeline.networks.extra_modules`.
        layers: names or globs; empty for the network's defaults.
        kind: kind of the chosen layers, instead of what their shapes suggest.
        top: images kept per unit and side, 1..1024.
        score: what is kept of a layer's positions, per image and unit.
        batch_size: images per forward pass, 1..1024.
        precision: of weights and activations: fp32, bf16, or auto, which is bf16 if the device
            computes in it, else fp32.
        memory_format: memory format of the network and its input.
        compile: whether torch.compile is used; `auto` decides from the dataset's size.
        decoder: library that decodes JPEGs: pil, simplejpeg, nvjpeg on a GPU, or auto, the fastest that is
            installed.
        device: where the network runs; `cuda:all` is every CUDA device of this machine, a process each.
        workers: decoding threads; None for one per core.
        threads: torch's own threads on a CPU; None leaves torch's choice.
        classes: labels kept per unit in `classes.parquet`; None keeps all.
        class_names: file with the names of the classifier's units, and of labels that are numbers, see
            `pipeline.networks.class_names` and `pipeline.runs.label_names`.
        shards_per_part: shards committed together; None for a 32nd of the dataset, at most 64.
        shard_range: `I/N`, the I-th of N ranges of the dataset's shards, from 1; only these are indexed, for
            `maxact merge`. None for all.
        max_bad_fraction: share of bad images in a group of shards, 0..1, above which the run stops,
            when they are more than 10.
        keep: `patches` also writes thumbnails of all listed images, see `pipeline.runs.thumbnails`;
            `peaks`, `peaks=float16` or `peaks=float32` the peaks of all images, see
            `pipeline.store.peak_files`.
        fresh: remove the index that OUT holds and start over.
        cache: folder of the demo data, of downloaded datasets and of receptive fields; None for
            `~/.cache/maxact`.
        engine: what spreads the shards; a string is the name of one, with its defaults. Not recorded in
            run.json, as it changes no result.

    Raises:
        UsageError: when a value is out of range, or not one of the words that its field takes.
    """

    data: Path | Sequence[str | Path]
    out: Path
    network: str = "efficientnet_lite0"
    weights: str | None = None
    input: Sequence[str] = ()
    directions: Sequence[str] = ()
    layers: Sequence[str] = ()
    kind: Kind | None = None
    top: int = 64
    score: Score = "max"
    batch_size: int = 32
    precision: AskedPrecision = "fp32"
    memory_format: MemoryFormat = "channels_last"
    compile: Compile = "auto"
    decoder: AskedDecoder = "pil"
    device: IndexDevice = "auto"
    workers: int | None = None
    threads: int | None = None
    classes: int | None = 20
    class_names: str | None = None
    shards_per_part: int | None = None
    shard_range: str | None = None
    max_bad_fraction: float = 0.01
    keep: Sequence[str] = ()
    fresh: bool = False
    cache: Path | None = None
    engine: EngineConfig | EngineName = EngineConfig()

    def __post_init__(self) -> None:
        if not isinstance(self.engine, EngineConfig):
            object.__setattr__(self, "engine", EngineConfig(self.engine))
        for name in ("data", "input", "directions", "layers", "keep"):
            object.__setattr__(self, name, _texts(getattr(self, name)))
        if str(self.out) == "":
            raise UsageError("--out: the name of the folder is empty; write . for the current folder")
        if not is_address(self.out):
            object.__setattr__(self, "out", Path(self.out))
        if not self.data:
            raise UsageError("no dataset given; name a folder, tar shards, Parquet files or `demo`")
        _check_range("top", self.top, 1, _MAX_TOP)
        _check_range("batch-size", self.batch_size, 1, 1024)
        for name in ("workers", "threads", "classes", "shards_per_part"):
            value = getattr(self, name)
            if value is not None:
                _check_range(name.replace("_", "-"), value, 1, 1 << 20)
        _ = self.range
        if not 0 <= self.max_bad_fraction <= 1:
            raise UsageError(f"--max-bad-fraction must be in 0..1, got {self.max_bad_fraction}")
        for name, words in _WORDS.items():
            value = getattr(self, name)
            if value not in get_args(words) and (name, value) != ("kind", None):
                known = " or ".join(get_args(words))
                raise UsageError(f"--{name.replace('_', '-')} must be {known}, got {value!r}")
        object.__setattr__(self, "keep", _kept(self.keep))
        self._check_engine()

    def _check_engine(self) -> None:
        """Refuse options that contradict those of the engine."""
        engine = self.spread
        if engine.name == "ray" and self.device in ("cuda:all", "mps"):
            raise UsageError(
                f"--device {self.device} is not for --engine ray, which gives every task its own devices; "
                "give --device cuda or cpu, and --gpus-per-task"
            )
        if engine.gpus_per_task == 0 and self.device == "cuda":
            raise UsageError("--device cuda needs --gpus-per-task above 0, or leave that out")
        if engine.gpus_per_task and self.device == "cpu":
            raise UsageError(f"--device cpu needs no GPU, got --gpus-per-task {engine.gpus_per_task:g}")
        if engine.shards_per_task is not None and self.shards_per_part is not None:
            raise UsageError(
                "--shards-per-task and --shards-per-part both say how many shards are committed together; "
                "give one"
            )

    @property
    def spread(self) -> EngineConfig:
        """What spreads the shards."""
        assert isinstance(self.engine, EngineConfig)
        return self.engine

    @property
    def range(self) -> tuple[int, int] | None:
        """Which of how many ranges of the shards is indexed; None for all shards.

        Raises:
            UsageError: when `shard_range` is not I/N with I from 1 to N.
        """
        return read_range(self.shard_range)

    @property
    def kept_peaks(self) -> PeakFormat | None:
        """The number format in which the peaks of all images are kept; None if they are not."""
        found = [word.partition("=")[2] for word in self.keep if word.startswith("peaks=")]
        return "float32" if found == ["float32"] else "float16" if found else None

    def as_json(self) -> dict[str, Any]:
        """The configuration as plain values, for run.json."""
        cache = None if self.cache is None else str(self.cache)
        recorded = {**asdict(self), "out": address_of(self.out), "cache": cache}
        del recorded["engine"]
        return recorded


def read_range(text: str | None) -> tuple[int, int] | None:
    """Read `I/N`; see `RunConfig.range`."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", str(text), re.ASCII)
    number, count = (int(each) for each in found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"--shard-range must be I/N with I from 1 to N, such as 3/8, got {text!r}")
    return number, count


def _texts(values: Path | Iterable[str | Path] | None) -> tuple[str, ...]:
    """One or several texts or paths as a tuple of texts."""
    return (str(values),) if isinstance(values, str | Path) else tuple(map(str, values or ()))


def _kept(words: Iterable[str]) -> tuple[str, ...]:
    """What is kept, each once; `peaks` with its number format.

    Raises:
        UsageError: for another word, or two number formats.
    """
    kept = {"peaks=float16" if word == "peaks" else word: None for word in words}
    for word in kept:
        if word not in get_args(Keep):
            raise UsageError(f"--keep must be {' or '.join(get_args(Keep))}, got {word!r}")
    if {"peaks=float16", "peaks=float32"} <= kept.keys():
        raise UsageError("--keep peaks: give one number format, float16 or float32")
    return tuple(sorted(kept))


def _check_range(option: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UsageError(f"--{option} must be in {low}..{high}, got {value}")
