"""Fingerprints: a hash of everything that affects a run's result."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.config import RunConfig
from pipeline.errors import FingerprintMismatch, StoreError
from pipeline.images.preprocess import Preprocess
from pipeline.layers.layer import Layer
from pipeline.progress import readable_count
from pipeline.store.peak_files import KEPT_PEAKS

__all__ = [
    "STATE_VERSION",
    "fingerprint",
    "fingerprint_fields",
    "layer_fields",
    "refuse_mismatch",
    "refuse_other_state",
    "run_identity",
]

STATE_VERSION = 5
"""Increased whenever the same input would give different tables; part of every fingerprint."""

_OPTIONS = ("network", "top", "score", "batch size", "precision", "memory format", "decoder", "device")
"""Fields that one option sets."""

_VERSIONED = ("torch", "pillow", "numpy")


def fingerprint_fields(
    config: RunConfig,
    *,
    digest: str,
    preprocess: Preprocess,
    layers: Sequence[Layer],
    compiled: bool,
    device: str,
) -> dict[str, Any]:
    """Everything except the dataset that affects a result, as plain values.

    Args:
        config: the run.
        digest: SHA-256 of the network's weights.
        preprocess: from an image to the network's input.
        layers: the probed layers.
        compiled: whether torch.compile is used.
        device: the device's type.
    """
    fields: dict[str, Any] = {
        "state version": STATE_VERSION,
        "network": config.network,
        "weights": digest,
        "preprocess": asdict(preprocess),
        "layers": [layer_fields(layer) for layer in layers],
        "top": config.top,
        "score": config.score,
        "batch size": config.batch_size,
        "precision": config.precision,
        "memory format": config.memory_format,
        "compiled": compiled,
        "decoder": config.decoder,
        "device": device,
    }
    versioned = (*_VERSIONED, "simplejpeg") if config.decoder == "simplejpeg" else _VERSIONED
    fields |= {f"{name} version": importlib.metadata.version(name) for name in versioned}
    if config.kept_peaks is not None:  # so that runs without them have the fingerprint that they always had
        fields[KEPT_PEAKS] = config.kept_peaks
    return _plain(fields)


def layer_fields(layer: Layer) -> list[Any]:
    """What decides a layer's peaks and where they are."""
    fields = [layer.name, layer.kind, layer.units]
    if layer.position_order:
        fields.append(hashlib.sha256(json.dumps(layer.position_order).encode()).hexdigest()[:16])
    return fields


def run_identity(fields: Mapping[str, Any], shards: int, listing: str) -> dict[str, Any]:
    """The fields and the dataset: two runs with the same identity have the same result.

    Args:
        fields: see `fingerprint_fields`.
        shards: number of shards in the dataset.
        listing: the digest of their listing.
    """
    return {**fields, "dataset": f"{readable_count(shards, 'shard')}, listing {listing[:16]}"}


def fingerprint(fields: Mapping[str, Any]) -> str:
    """SHA-256 of the fields, in hexadecimal; independent of the machine."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def refuse_other_state(out: Path, run: Mapping[str, Any], what: str) -> None:
    """Refuse parts of another state version, which mean something else.

    Args:
        out: folder of the index.
        run: content of its run.json.
        what: this version does with parts, such as `rebuilds tables`.

    Raises:
        StoreError: says what to do.
    """
    version = run["fields"].get("state version") if "fields" in run else None
    if version != STATE_VERSION or "layers" not in run:
        raise StoreError(
            f"{out} has state version {version}, this maxact {what} of version {STATE_VERSION}; "
            "use the maxact that wrote it, or index again with --fresh"
        )


def refuse_mismatch(
    where: Path, found: Mapping[str, Any], wanted: Mapping[str, Any], *, advice: str | None = None
) -> None:
    """Compare the fields of the run in a folder with those of the run to do.

    Args:
        where: the folder that holds the run of `found`.
        found: fields of that run.
        wanted: fields that it should have.
        advice: what to do where they differ; by default how to index nevertheless.

    Raises:
        FingerprintMismatch: lists the fields that differ, with both values.
    """
    found, wanted = _plain(found), _plain(wanted)
    names = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    if names:
        different = "; ".join(
            f"{name} was {_short(found.get(name))}, now {_short(wanted.get(name))}" for name in names
        )
        raise FingerprintMismatch(
            f"{where} holds another run: {different}. {advice or _advice(names, found)}"
        )


def _advice(names: Sequence[str], found: Mapping[str, Any]) -> str:
    """The options to give: those of the run that is there where each field has one, or others."""
    options = [_option(name, found.get(name)) for name in names]
    resume = f"Give {' '.join(map(str, options))} to continue that run, " if all(options) else "Give "
    return f"{resume}another --out to keep it, or --fresh to remove it and start over"


def _option(name: str, value: Any) -> str | None:
    """The option that sets a field to a value, where there is one."""
    if name == KEPT_PEAKS:
        return f"--keep peaks={value}" if value else "no --keep peaks"
    if name == "compiled":
        return f"--compile {'on' if value else 'off'}"
    return f"--{name.replace(' ', '-')} {value}" if name in _OPTIONS and value is not None else None


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields after a round trip through JSON: tuples become lists."""
    content: dict[str, Any] = json.loads(json.dumps(fields))
    return content


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:28]}...{text[-28:]}"
