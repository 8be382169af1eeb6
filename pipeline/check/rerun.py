"""Checks an index by running a sample of its images through the network again.

Each image is read back by its offset, must have the bytes that were indexed, and is run alone, not
in a batch. Its recorded peaks must come out again at their recorded positions, and no unit may lack
it on a list where its peak is above the k-th. The tables must also be consistent with each other
(see `pipeline.check.consistency`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.check.consistency import Discrepancy, find_inconsistencies
from pipeline.choices import Precision, Score
from pipeline.errors import AuditError, MaxactError, WeightsError
from pipeline.images.decode import decode
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, recorded_network
from pipeline.progress import Reporter, Silent
from pipeline.query.index import ChangedImage, Index, open_index
from pipeline.query.indexed_images import read_images
from pipeline.store.final_tables import has_digests, refuse_damaged_tables
from pipeline.store.run_file import read_finished_run
from pipeline.store.trust import is_own, refuse_links
from pipeline.stream.loop import DTYPES, MEMORY_FORMATS, place_module
from pipeline.stream.probes import Peaks, Probes

__all__ = ["MAX_SHOWN", "Audit", "Discrepancy", "check_index"]

TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "bf16": 2e-2}
"""Relative to the activation, but at least to a hundredth of the unit's range: an image alone and
the same image in a batch take different paths through the processor's matrix code."""

MAX_SHOWN = 10
"""Discrepancies that the command line prints."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The result of a check.

    Args:
        images: run again.
        peaks: recorded peaks compared.
        absences: (image, unit) pairs that are not on a list and were compared with its k-th peak.
        discrepancies: inside the tables, and between tables and network.
        worst: the largest difference of an activation within the tolerance, relative as
            `TOLERANCE` is.
    """

    images: int
    peaks: int
    absences: int
    discrepancies: tuple[Discrepancy, ...]
    worst: float


@dataclass(frozen=True, slots=True)
class _Records:
    """The recorded peaks of one layer, and the k-th peak of each unit's lists.

    Args:
        rows: (unit, side, activation, y, x) of each peak, by image_id.
        listed: units that list an image, by (side, image_id).
        floor: (unit,) the k-th highest peak; the minimum where fewer peaks than k are above it.
        ceiling: (unit,) the k-th lowest peak; the maximum where fewer are below it, and -inf where
            more than k images of a rectified unit are at 0, so that none is listed.
        scale: (unit,) range of all peaks.
    """

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
    network: Network | str | None = None,
    weights: str | Path | None = None,
    trust: bool = False,
    data: Path | str | Sequence[Path | str] = (),
    reporter: Reporter | None = None,
) -> Audit:
    """Run images of an index again and compare at least `sample` recorded peaks.

    Args:
        out: folder of a finished index.
        sample: recorded peaks to compare, at least; all peaks of an image are compared.
        seed: of the choice of images.
        network: used instead of the one that the run names; a name is loaded.
        weights: a file, instead of the one that the run names.
        trust: load what the index names although another user made it.
        data: where the dataset is, if it has moved; see `pipeline.data.moved.open_moved`.
        reporter: shows the progress.

    Raises:
        DamagedFile: when a table is not as it was written.
        WeightsError: when the network loaded now is not the one that was indexed.
        AuditError: when an image cannot be read back or decoded.
        UntrustedIndex: when the index names code or files, and is not trusted.
    """
    reporter, out = reporter or Silent(), Path(out)
    run = read_finished_run(out)
    if not trust:
        refuse_links(out)
    refuse_damaged_tables(out, run, whole=True)
    if not has_digests(run):
        reporter.note(f"{out} has no digests of its tables; `maxact repair {out}` adds them")
    config = run["config"]
    if not isinstance(network, Network):
        trusted = trust or is_own(run)
        network = recorded_network(out, run, network=network, weights=weights, trusted=trusted)
    if network.digest != run["network"]["digest"]:
        raise WeightsError(
            f"the weights of {network.name} are not those that were indexed: digest "
            f"{network.digest[:12]}, expected {run['network']['digest'][:12]}"
        )
    with open_index(out, data=data, trust=trust) as index:
        records = [_read_records(index, layer, config["top"]) for layer in index.layers]
        chosen = _choose_images(index, records, sample, seed)
        checker = _Checker(index.layers, records, config["precision"])
        decoder = partial(decode, preprocess=network.preprocess, decoder=config["decoder"])
        dtype, memory_format = DTYPES[config["precision"]], MEMORY_FORMATS[config["memory_format"]]
        score: Score = config["score"]
        module = place_module(network, config["precision"], config["memory_format"])
        with (
            Probes(module, index.layers, checker.compare, score) as probes,
            reporter.task("checking", len(chosen), "images") as task,
        ):

            def note_problem(image_id: int, error: MaxactError) -> None:
                if not isinstance(error, ChangedImage):
                    raise AuditError(f"image {image_id} cannot be read back: {error}") from error
                checker.discrepancies.append(Discrepancy("", -1, image_id, str(error)))
                task.advance()

            for image_id, pixels in read_images(index, chosen, decoder, problem=note_problem):
                checker.image_id = image_id
                probes(network.normalise(pixels[None]).to(dtype=dtype, memory_format=memory_format))
                task.advance()
        found = (*find_inconsistencies(index, top=config["top"]), *checker.discrepancies)
    return Audit(len(chosen), checker.peaks, checker.absences, found, checker.worst)


def _read_records(index: Index, layer: Layer, k: int) -> _Records:
    rows: dict[int, list[tuple[int, str, float, int, int]]] = {}
    listed: dict[tuple[str, int], set[int]] = {}
    floor = np.full(layer.units, -np.inf)
    ceiling = np.full(layer.units, np.inf)
    scale = np.zeros(layer.units)
    spread = index.sql(
        'SELECT unit, "min", "max", images - round(active_fraction * images) FROM units WHERE layer = $layer',
        layer=layer.name,
    )
    for unit, low, high, inactive in spread.rows:
        floor[unit], scale[unit] = low, high - low
        ceiling[unit] = -np.inf if low == 0 and inactive > k else high
    top = index.sql(
        "SELECT unit, side, activation, image_id, y, x, rank FROM top WHERE layer = $layer ORDER BY rank",
        layer=layer.name,
    )
    for unit, side, activation, image_id, y, x, rank in top.rows:
        rows.setdefault(image_id, []).append((unit, side, activation, y, x))
        listed.setdefault((side, image_id), set()).add(unit)
        if rank == k:
            (floor if side == "high" else ceiling)[unit] = activation
    return _Records(rows, listed, floor, ceiling, scale)


def _choose_images(index: Index, records: Sequence[_Records], sample: int, seed: int) -> list[int]:
    """image_ids drawn at random until the images have `sample` recorded peaks."""
    images = [row[0] for row in index.sql("SELECT image_id FROM images ORDER BY image_id").rows]
    order = np.random.default_rng(seed).permutation(len(images))
    chosen: list[int] = []
    peaks = 0
    for row in order:
        if peaks >= sample:
            break
        chosen.append(images[row])
        peaks += sum(len(layer.rows.get(images[row], ())) for layer in records)
    return chosen


class _Checker:
    """Compares one image's peaks with the records, layer by layer."""

    def __init__(self, layers: Sequence[Layer], records: Sequence[_Records], precision: Precision) -> None:
        self.layers, self.records = layers, records
        self.tolerance = TOLERANCE[precision]
        self.image_id = -1
        self.peaks = self.absences = 0
        self.discrepancies: list[Discrepancy] = []
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
            # `find_inconsistencies` reports positions outside the grid.
            at_position = float(maps[unit, y, x]) if inside else math.nan
            if difference > slack[unit]:
                self._note(layer, unit, f"{side} peak {activation:g}, now {values[unit]:g}")
            elif values[unit] == float(maps[unit].amax()) and (values[unit] - at_position > slack[unit]):
                self._note(layer, unit, f"position ({y}, {x}) gives {at_position:g}, not the peak")
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
                    self._note(layer, int(unit), f"{values[unit]:g} belongs on the {side} list")

    def _note(self, layer: Layer, unit: int, what: str) -> None:
        self.discrepancies.append(Discrepancy(layer.name, unit, self.image_id, what))
