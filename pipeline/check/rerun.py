"""A second look at an index: recorded images again, one by one, and what they really give.

Every image looked at is read back by its offset, must be the bytes that were indexed, and is shown
to the network alone. Each of its recorded peaks must come out again, at its recorded position; and
no unit may have left it off its list although its peak beats the k-th. The tables must not
contradict each other either (see `pipeline.check.contradictions`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pipeline.check.contradictions import Lie, find_contradictions
from pipeline.choices import Precision, Score
from pipeline.errors import AuditError, BadImage, MaxactError, WeightsError
from pipeline.images.decode import decode
from pipeline.images.hashes import byte_digest
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, recorded_network
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index, open_index
from pipeline.store.run_file import read_finished_run
from pipeline.stream.loop import DTYPES, MEMORY_FORMATS, place_module
from pipeline.stream.probes import Peaks, Probes

__all__ = ["Audit", "Lie", "check_index"]

TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "bf16": 2e-2}
"""Relative to the activation, but at least to a hundredth of the unit's range: an image alone and
the same image in a batch take different paths through the processor's matrix code."""

_CHANGED = "the bytes read back are not those that were indexed"

MAX_LIES = 10
"""Disagreements that are told in full."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What a second look found.

    Args:
        images: looked at again.
        peaks: recorded peaks compared.
        absences: (image, unit) pairs off the list that were checked against the k-th.
        lies: what disagrees, in the tables or with the network.
        worst: the largest difference of an activation that agreed, relative as `TOLERANCE` is.
    """

    images: int
    peaks: int
    absences: int
    lies: tuple[Lie, ...]
    worst: float


@dataclass(frozen=True, slots=True)
class _Records:
    """The recorded peaks of one layer, and what each unit's lists admit."""

    rows: dict[int, list[tuple[int, str, float, int, int]]]
    listed: dict[tuple[str, int], set[int]]
    floor: np.ndarray
    ceiling: np.ndarray
    scale: np.ndarray


def check_index(
    out: Path | str,
    *,
    sample: int = 1000,
    seed: int = 0,
    network: Network | None = None,
    reporter: Reporter | None = None,
) -> Audit:
    """Run images of an index through its network again and compare their peaks with the recorded ones.

    Args:
        out: folder of a finished index.
        sample: recorded peaks to compare, at least; images are drawn until they have that many.
        seed: random seed of the choice of images.
        network: used instead of loading the one that the index names.
        reporter: shown progress.

    Raises:
        WeightsError: when the network loaded now is not the one that was indexed.
        AuditError: when an image cannot be read back.
    """
    reporter, out = reporter or Silent(), Path(out)
    run = read_finished_run(out)
    config = run["config"]
    network = network or recorded_network(config)
    if network.digest != run["network"]["digest"]:
        raise WeightsError(
            f"the weights of {network.name} are not those that were indexed: digest "
            f"{network.digest[:12]}, expected {run['network']['digest'][:12]}"
        )
    with open_index(out) as index:
        records = [_read_records(index, layer) for layer in index.layers]
        chosen = _choose_images(index, records, sample, seed)
        checker = _Checker(index.layers, records, config["precision"])
        score: Score = config["score"]
        module = place_module(network, config["precision"], config["memory_format"])
        with (
            Probes(module, index.layers, checker.compare, score) as probes,
            reporter.task("checking", len(chosen), "images") as task,
        ):
            for image_id, digest in chosen:
                checker.image_id = image_id
                data = _read(index, image_id)
                if byte_digest(data) == digest:
                    probes(_input(data, image_id, network, config))
                else:
                    checker.lies.append(Lie("", -1, image_id, _CHANGED))
                task.advance()
        lies = (*find_contradictions(index, top=config["top"]), *checker.lies)
    return Audit(len(chosen), checker.peaks, checker.absences, lies, checker.worst)


def _read(index: Index, image_id: int) -> bytes:
    try:
        return index.image_bytes(image_id)
    except MaxactError as error:
        raise AuditError(f"image {image_id} cannot be read back: {error}") from error


def _input(data: bytes, image_id: int, network: Network, config: Mapping[str, Any]) -> Tensor:
    try:
        decoded = decode(data, network.preprocess, decoder=config["decoder"])
    except BadImage as error:
        raise AuditError(f"image {image_id} cannot be decoded any more: {error}") from error
    batch = network.normalise(decoded.pixels[None])
    return batch.to(dtype=DTYPES[config["precision"]], memory_format=MEMORY_FORMATS[config["memory_format"]])


def _read_records(index: Index, layer: Layer) -> _Records:
    rows: dict[int, list[tuple[int, str, float, int, int]]] = {}
    listed: dict[tuple[str, int], set[int]] = {}
    floor = np.full(layer.units, -np.inf)
    ceiling = np.full(layer.units, np.inf)
    scale = np.zeros(layer.units)
    top = index.sql(
        "SELECT unit, side, activation, image_id, y, x FROM top WHERE layer = $layer ORDER BY rank",
        layer=layer.name,
    )
    for unit, side, activation, image_id, y, x in top.rows:
        rows.setdefault(image_id, []).append((unit, side, activation, y, x))
        listed.setdefault((side, image_id), set()).add(unit)
        (floor if side == "high" else ceiling)[unit] = activation
    spread = index.sql('SELECT unit, "max" - "min" FROM units WHERE layer = $layer', layer=layer.name)
    for unit, width in spread.rows:
        scale[unit] = width
    return _Records(rows, listed, floor, ceiling, scale)


def _choose_images(
    index: Index, records: Sequence[_Records], sample: int, seed: int
) -> tuple[tuple[int, int], ...]:
    """Images (image_id, digest) drawn at random until their recorded peaks reach the sample."""
    images = index.sql("SELECT image_id, digest FROM images ORDER BY image_id").rows
    order = np.random.default_rng(seed).permutation(len(images))
    chosen: list[tuple[int, int]] = []
    peaks = 0
    for row in order:
        if peaks >= sample:
            break
        chosen.append(images[row])
        peaks += sum(len(layer.rows.get(images[row][0], ())) for layer in records)
    return tuple(sorted(chosen))


class _Checker:
    """Compares one image's peaks with the records, layer by layer."""

    def __init__(self, layers: Sequence[Layer], records: Sequence[_Records], precision: Precision) -> None:
        self.layers, self.records = layers, records
        self.tolerance = TOLERANCE[precision]
        self.image_id = -1
        self.peaks = self.absences = 0
        self.lies: list[Lie] = []
        self.worst = 0.0

    def compare(self, index: int, peaks: Peaks) -> None:
        """The watcher: one image, one layer."""
        layer, records = self.layers[index], self.records[index]
        values = peaks.values[0].double().numpy()
        maps = peaks.view[0]
        size = np.maximum(np.abs(values), records.scale / 100)
        slack = self.tolerance * size
        for unit, side, activation, y, x in records.rows.get(self.image_id, ()):
            self.peaks += 1
            difference = abs(values[unit] - activation)
            inside = 0 <= y < maps.shape[1] and 0 <= x < maps.shape[2]
            # Positions outside the grid were told of when the tables were compared.
            at_position = float(maps[unit, y, x]) if inside else math.nan
            if difference > slack[unit]:
                self._lie(layer, unit, f"{side} peak {activation:g}, now {values[unit]:g}")
            elif values[unit] == float(maps[unit].amax()) and (values[unit] - at_position > slack[unit]):
                self._lie(layer, unit, f"position ({y}, {x}) gives {at_position:g}, not the peak")
            else:
                self.worst = max(self.worst, difference / max(size[unit], 1e-12))
        for side, beats in (
            ("high", values - slack > records.floor),
            ("low", values + slack < records.ceiling),
        ):
            listed = records.listed.get((side, self.image_id), set())
            self.absences += len(values) - len(listed)
            for unit in beats.nonzero()[0]:
                if int(unit) not in listed:
                    self._lie(layer, int(unit), f"{values[unit]:g} belongs on the {side} list")

    def _lie(self, layer: Layer, unit: int, what: str) -> None:
        self.lies.append(Lie(layer.name, unit, self.image_id, what))
