"""What a run is asked to do, and the fingerprint of everything that changes its result."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from pipeline.choices import Compile, Decoder, Device, Kind, MemoryFormat, Precision, Score
from pipeline.errors import UsageError

__all__ = ["RunConfig"]

_MAX_TOP = 1024


@dataclass(frozen=True, slots=True)
class RunConfig:
    """One indexing run.

    Args:
        data: folders, tar shards, Parquet files, URLs, brace patterns, or `demo`.
        out: the folder that will hold the index.
        network: a name that `pipeline.networks.network.load_network` knows.
        weights: a file, `random`, or None for the published weights.
        input: KEY=VALUE replacing parts of the preprocessing, see `pipeline.networks.preprocess_options`.
        directions: files whose rows become units of extra layers, see `pipeline.networks.extra_modules`.
        layers: globs over layer names; empty for the network's defaults.
        kind: of the chosen layers, instead of what their shapes suggest.
        top: images kept per unit and side, 1..1024.
        score: what is kept of a layer's positions, per image and unit.
        batch_size: images per forward pass.
        precision: fp32, or bf16 for weights and activations.
        memory_format: of the network and its input.
        compile: whether torch.compile is used; `auto` decides from the dataset's size.
        decoder: what decodes JPEGs.
        device: where the network runs.
        workers: decoding threads; None for one per core.
        threads: torch's own threads on a CPU; None leaves torch's choice.
        classes: labels kept per unit in `classes.parquet`; None keeps all.
        shards_per_part: shards committed together; None for a 32nd of the dataset, at most 64.
        max_bad_fraction: of a group of shards, the share of bad images that stops the run, when
            it is more than 10 images.
        fresh: remove what OUT holds and start over.

    Raises:
        UsageError: when a value is out of range.
    """

    data: tuple[str, ...]
    out: Path
    network: str = "efficientnet_lite0"
    weights: str | None = None
    input: tuple[str, ...] = ()
    directions: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    kind: Kind | None = None
    top: int = 16
    score: Score = "max"
    batch_size: int = 32
    precision: Precision = "fp32"
    memory_format: MemoryFormat = "channels_last"
    compile: Compile = "auto"
    decoder: Decoder = "pil"
    device: Device = "auto"
    workers: int | None = None
    threads: int | None = None
    classes: int | None = 20
    shards_per_part: int | None = None
    max_bad_fraction: float = 0.01
    fresh: bool = False
    cache: Path | None = None

    def __post_init__(self) -> None:
        if not self.data:
            raise UsageError("no dataset given; name a folder, tar shards, Parquet files or `demo`")
        _check_range("top", self.top, 1, _MAX_TOP)
        _check_range("batch-size", self.batch_size, 1, 1024)
        for name in ("workers", "threads", "classes", "shards_per_part"):
            value = getattr(self, name)
            if value is not None:
                _check_range(name.replace("_", "-"), value, 1, 1 << 20)
        if not 0 <= self.max_bad_fraction <= 1:
            raise UsageError(f"--max-bad-fraction must lie in 0..1, got {self.max_bad_fraction}")
        for name, kind in (
            ("score", Score),
            ("precision", Precision),
            ("memory_format", MemoryFormat),
            ("compile", Compile),
            ("decoder", Decoder),
            ("device", Device),
        ):
            value = getattr(self, name)
            if value not in get_args(kind):
                option = name.replace("_", "-")
                known = " or ".join(get_args(kind))
                raise UsageError(f"--{option} must be {known}, got {value!r}")

    def as_json(self) -> dict[str, Any]:
        """The configuration as plain values, for run.json."""
        content = asdict(self)
        content["out"] = str(self.out)
        content["cache"] = None if self.cache is None else str(self.cache)
        return content


def _check_range(option: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UsageError(f"--{option} must lie in {low}..{high}, got {value}")
