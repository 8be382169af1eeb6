"""What a run will do: network, layers, dataset, whether to compile, and what run.json says of it."""

from __future__ import annotations

import importlib.metadata
import platform
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pipeline.choices import PeakFormat
from pipeline.config import RunConfig
from pipeline.data.dataset import Dataset, default_cache, open_dataset
from pipeline.devices import resolve_precision, tell_of_bf16
from pipeline.engines.engine import Engine
from pipeline.errors import MissingSource, ShardError
from pipeline.images.nvjpeg import resolve_decoder
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.class_names import read_class_names
from pipeline.networks.network import Network, load_network
from pipeline.progress import Reporter, readable_bytes, readable_count
from pipeline.runs.fingerprint import fingerprint, fingerprint_fields, run_identity
from pipeline.runs.resume import recorded_compile
from pipeline.runs.shard_groups import in_range, shards_per_part
from pipeline.store.peak_files import peak_bytes
from pipeline.store.schemas import SCHEMA_VERSION
from pipeline.stream.compiled_probes import can_compile

__all__ = ["Plan", "make_plan"]

COMPILE_IMAGES = 20_000
"""Images from which compiling saves time: it takes about a minute and saves some 10 ms an image."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do.

    Args:
        config: with the number format and the decoder that are used.
        dataset: the shards of the range that is indexed.
        network: with the class names that were given.
        layers: that are probed, in forward order.
        engine: that runs the network.
        compiled: whether the network is compiled.
        fields: everything that affects a result, but the dataset.
        given: whether the network was passed in, and not loaded by its name.
    """

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

    def content(self) -> dict[str, Any]:
        """What run.json says before the run, with status `incomplete`."""
        network = self.network
        return {
            "schema_version": SCHEMA_VERSION,
            "status": "incomplete",
            "fingerprint": fingerprint(self.identity),
            "fields": self.fields,
            "identity": self.identity,
            "config": {**self.config.as_json(), **({"network": None} if self.given else {})},
            "network": {
                "name": network.name,
                "weights": network.weights,
                "digest": network.digest,
                "classes": list(network.classes) if network.classes else None,
            },
            "preprocess": asdict(network.preprocess),
            "layers": [layer.record() for layer in self.layers],
            "dataset": {
                "name": self.dataset.name,
                "data": list(self.dataset.data),
                "shards": len(self.dataset.shards),
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


def make_plan(
    config: RunConfig,
    network: Network | None,
    dataset: Dataset | None,
    engine: Engine,
    reporter: Reporter,
) -> Plan:
    """Open the dataset, load the network, and decide what is left open, telling the reporter.

    Args:
        config: of the run.
        network: used instead of loading `config.network`.
        dataset: used instead of opening `config.data`.
        engine: that will run the network.
        reporter: told of what was decided.

    Raises:
        MaxactError: see `pipeline.errors`.
    """
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
    return Plan(config, dataset, network, layers, engine, compiled, fields, given)


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


def _check_shards(dataset: Dataset) -> None:
    if not dataset.shards:
        raise MissingSource(f"{dataset.name} holds no images")
    for name, count in Counter(shard.name for shard in dataset.shards).items():
        if count > 1:
            raise ShardError(name, "occurs twice in the dataset; names of shards must be unique")


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
