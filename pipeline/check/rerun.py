"""Runs images of an index through the network again and compares what comes out with the tables.

Each image is read back by its offset, must have the bytes, the size and the perceptual hash that were
recorded, and is run alone, not in a batch. Its recorded peaks must come out again at their positions,
and no unit may lack it on a list where its peak is above the k-th. The layers must have the shape and
the receptive fields that are measured again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.check.choice import Choice
from pipeline.check.findings import Discrepancy, Findings
from pipeline.check.kept_peaks import rounding_error
from pipeline.check.records import (
    Entry,
    LayerRecords,
    PictureRecord,
    read_pictures,
    read_predictions,
    read_records,
)
from pipeline.check.recount import Recount
from pipeline.check.structure import layer_differences
from pipeline.choices import Precision
from pipeline.errors import AuditError, MaxactError, WeightsError
from pipeline.images.decode import decode_original, to_network
from pipeline.images.hashes import perceptual_hash
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.progress import Reporter
from pipeline.query.index import Index
from pipeline.query.indexed_images import read_images
from pipeline.query.kept_peaks import KeptPeaks
from pipeline.query.originals import ChangedImage
from pipeline.runs.label_names import names_given
from pipeline.stream.placed import place_as_indexed
from pipeline.stream.probes import Peaks, Probes

__all__ = ["TOLERANCE", "Rerun", "check_network", "run_again"]

TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "bf16": 2e-2}
"""Relative to the activation, but at least to a hundredth of the unit's range: an image alone and
the same image in a batch take different paths through the processor's matrix code."""


_IMAGES_AT_ONCE = 4096
"""Images whose records are in memory."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """The result of running images again.

    Args:
        findings: differences between the images' peaks and the tables, and of statistics.
        peaks: recorded peaks compared.
        absences: (image, unit) pairs that are not on a list and were compared with its k-th peak.
        worst: the largest difference of an activation within the tolerance, relative as
            `TOLERANCE` is.
    """

    findings: tuple[Findings, ...]
    peaks: int
    absences: int
    worst: float


def check_network(index: Index, network: Network, cache: Path | None) -> Findings:
    """Compare the network with the records of it: preprocessing, class names, layers.

    Args:
        index: open.
        network: loaded now.
        cache: folder of measured receptive fields; None to measure all.

    Raises:
        WeightsError: when its weights are not those that were indexed.
    """
    run = index.run
    if network.digest != run["network"]["digest"]:
        raise WeightsError(
            f"the weights of {network.name} are not those that were indexed: digest "
            f"{network.digest[:12]}, expected {run['network']['digest'][:12]}"
        )
    found = Findings()
    if network.preprocess != index.preprocess:
        what = (
            f"the preprocessing is {astuple(index.preprocess)}, the network's {astuple(network.preprocess)}"
        )
        found.add(Discrepancy.of_index(what))
    classes = run["network"]["classes"]
    given = names_given(run) is not None
    known = classes is not None and network.classes is not None
    if known and not given and tuple(classes) != network.classes:
        found.add(Discrepancy.of_index("the names of the classes are not those of the network"))
    config = run["config"]
    try:
        layers = choose_layers(network, config.get("layers", ()), kind=config.get("kind"), cache=cache)
    except MaxactError as error:
        found.add(Discrepancy.of_index(f"the layers cannot be found in the network: {error}"))
        return found
    names, expected = [layer.name for layer in index.layers], [layer.name for layer in layers]
    if names != expected:
        what = f"the layers are {', '.join(names)}, expected {', '.join(expected)}"
        found.add(Discrepancy.of_index(what))
    measured = {layer.name: layer for layer in layers}
    for layer in index.layers:
        if layer.name in measured and names == expected:
            for difference in layer_differences(layer, measured[layer.name]):
                found.add(Discrepancy(layer.name, -1, -1, f"has {difference} in the network"))
    return found


def run_again(
    index: Index, network: Network, choice: Choice, reporter: Reporter, *, peaks: bool = False
) -> Rerun:
    """Run the chosen images through the network.

    Args:
        index: open.
        network: that was indexed.
        choice: the images.
        reporter: shows the progress.
        peaks: compare the kept peaks of the images too.

    Raises:
        AuditError: when an image cannot be read back or decoded.
        LayerError: when a layer is not in the network, or of another shape.
    """
    config = index.run["config"]
    checker = _Checker(index, choice.complete, index.peaks if peaks else None)
    decoder = partial(decode_original, channels=network.preprocess.channels, decoder=config["decoder"])
    placed = place_as_indexed(network, config, torch.device("cpu"))
    with (
        Probes(placed.module, index.layers, checker.compare, config["score"]) as probes,
        reporter.task("checking", len(choice.image_ids), "images") as task,
    ):

        def note_problem(image_id: int, error: MaxactError) -> None:
            if not isinstance(error, ChangedImage):
                raise AuditError(f"image {image_id} cannot be read back: {error}") from error
            checker.findings.add(Discrepancy("", -1, image_id, str(error)))
            task.advance()

        for first in range(0, len(choice.image_ids), _IMAGES_AT_ONCE):
            chosen = choice.image_ids[first : first + _IMAGES_AT_ONCE]
            checker.load(chosen)
            for image_id, original in read_images(index, chosen, decoder, problem=note_problem):
                pixels = to_network(original, network.preprocess)
                checker.compare_picture(image_id, original, pixels)
                probes(placed.batch(pixels[None]))
                task.advance()
    findings = [checker.findings] + ([checker.recount.compare(index)] if checker.recount else [])
    return Rerun(tuple(findings), checker.peaks, checker.absences, checker.worst)


class _Checker:
    """Compares one image's peaks with the records, layer by layer.

    Conditions are written as what must hold, so that a recorded NaN breaks them.
    """

    def __init__(self, index: Index, complete: bool, kept: KeptPeaks | None) -> None:
        self.kept = kept
        self.index, self.layers = index, index.layers
        self.tolerance = TOLERANCE[index.run["config"]["precision"]]
        self.image_id = -1
        self.records: list[LayerRecords] = []
        self.pictures: dict[int, PictureRecord] = {}
        self.predicted: dict[int, dict[int, float]] = {}
        self.recount = Recount(index.layers) if complete else None
        self.peaks = self.absences = 0
        self.findings = Findings()
        self.worst = 0.0

    def load(self, image_ids: Sequence[int]) -> None:
        """Read the records of some images, in place of the last ones."""
        top = self.index.run["config"]["top"]
        self.records = [read_records(self.index, layer, top, image_ids) for layer in self.layers]
        self.pictures = read_pictures(self.index, image_ids)
        self.predicted = read_predictions(self.index, image_ids)

    def compare_picture(self, image_id: int, original: Tensor, pixels: Tensor) -> None:
        """Begin an image: compare size and perceptual hash with those of (channel, y, x) pixels."""
        self.image_id, record = image_id, self.pictures[image_id]
        height, width = original.shape[1:]
        if (record.width, record.height) != (width, height):
            what = f"has {record.width} x {record.height} pixels recorded, but {width} x {height}"
            self.findings.add(Discrepancy("", -1, self.image_id, what))
        phash = perceptual_hash(pixels)
        if record.phash != phash:
            what = f"has the perceptual hash {record.phash} recorded, but {phash}"
            self.findings.add(Discrepancy("", -1, self.image_id, what))

    def compare(self, index: int, peaks: Peaks) -> None:
        """The watcher: one image, one layer."""
        layer, records = self.layers[index], self.records[index]
        values = peaks.values[0].double().numpy()
        scale = np.nan_to_num(records.high - records.low, nan=0.0, posinf=0.0, neginf=0.0)
        size = np.maximum(np.abs(values), scale / 100)
        slack = self.tolerance * size
        if self.recount:
            self.recount.add(index, self.pictures[self.image_id].label, values, slack)
        if index == len(self.layers) - 1:
            self._compare_predictions(layer, values, slack)
        if self.kept:
            self._compare_kept(self.kept, layer, values, slack)
        for entry in records.entries.get(self.image_id, ()):
            self._compare_entry(layer, entry, values, peaks.view[0], size)
        inside = (values + slack >= records.low) & (values - slack <= records.high)
        for unit in (~inside).nonzero()[0]:
            what = f"{values[unit]:g} is outside of {records.low[unit]:g} to {records.high[unit]:g}"
            self._note(layer, int(unit), what)
        for side, stays_out in (
            ("high", values - slack <= records.floor),
            ("low", values + slack >= records.ceiling),
        ):
            listed = records.listed(self.image_id, side)
            self.absences += len(values) - len(listed)
            for unit in (~stays_out).nonzero()[0]:
                if int(unit) not in listed:
                    self._note(layer, int(unit), f"{values[unit]:g} belongs on the {side} list")

    def _compare_predictions(
        self, layer: Layer, values: npt.NDArray[np.float64], slack: npt.NDArray[np.float64]
    ) -> None:
        """Compare the recorded predictions of the image with the outputs of the last layer."""
        predicted = self.predicted.get(self.image_id)
        if predicted is None:
            return
        for unit, score in predicted.items():
            if not abs(values[unit] - score) <= slack[unit]:
                self._note(layer, unit, f"predicted with {score:g}, now {values[unit]:g}")
        above = (values - slack > min(predicted.values())).nonzero()[0].tolist()
        for unit in above:
            if unit not in predicted:
                self._note(layer, unit, f"{values[unit]:g} belongs to the predictions")

    def _compare_entry(
        self,
        layer: Layer,
        entry: Entry,
        values: npt.NDArray[np.float64],
        view: Tensor,
        size: npt.NDArray[np.float64],
    ) -> None:
        """Compare one recorded peak: its activation, and what is at its position.

        Args:
            layer: it is of.
            entry: the peak.
            values: (unit,) peaks of the image now.
            view: (unit, y, x), the layer's output.
            size: (unit,) that differences are relative to.
        """
        self.peaks += 1
        unit, slack = entry.unit, self.tolerance * size[entry.unit]
        difference = abs(values[unit] - entry.activation)
        if not difference <= slack:
            now = f"{values[unit]:g}"
            self._note(layer, unit, f"{entry.source} peak {entry.activation:g}, now {now}")
            return
        self.worst = max(self.worst, difference / max(size[unit], 1e-12))
        # Rules report positions outside the grid.
        if 0 <= entry.y < view.shape[1] and 0 <= entry.x < view.shape[2]:
            plane = view[unit].float()
            highest, there = float(plane.amax()), float(plane[entry.y, entry.x])
            spread = max(abs(highest), (highest - float(plane.amin())) / 100, float(size[unit]))
            if not highest - there <= self.tolerance * spread:
                where = f"position ({entry.y}, {entry.x})"
                self._note(layer, unit, f"{where} gives {there:g}, not the peak {highest:g}")

    def _compare_kept(
        self,
        kept: KeptPeaks,
        layer: Layer,
        values: npt.NDArray[np.float64],
        slack: npt.NDArray[np.float64],
    ) -> None:
        """Compare the kept peaks of the image with (unit,) those now."""
        there = kept.image(int(kept.rows([self.image_id])[0]))[kept.spans[layer.name]].astype(np.float64)
        self.peaks += len(there)
        wrong = ~(np.abs(values - there) <= slack + rounding_error(values, kept.matrix.kind))
        for unit in wrong.nonzero()[0]:
            self._note(layer, int(unit), f"kept peak {there[unit]:g}, now {values[unit]:g}")

    def _note(self, layer: Layer, unit: int, what: str) -> None:
        self.findings.add(Discrepancy(layer.name, unit, self.image_id, what))
