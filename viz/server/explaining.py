"""What a photograph of the visitor's drives, as a page shows it."""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipeline.choices import Device
from pipeline.errors import LayerError
from pipeline.explain.explainer import Explainer, UnitResponse
from pipeline.explain.photographs import Photograph
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.query.index import Index
from pipeline.query.indexed_network import index_network
from viz.atlas.pictures import encode_webp, shrink
from viz.server.uploads import open_upload
from viz.sheets.explanation import readable_share
from viz.sheets.spotlight import spotlight

__all__ = ["ALL_LAYERS", "Driven", "DrivenLayer", "DrivenUnit", "Explaining"]

ALL_LAYERS = -1

UNITS = 6
"""Units of a layer that are shown."""

SIDE, WHOLE = 220, 360
"""Longer sides of the photograph with a map and of the whole one, in pixels."""

QUALITY = 70


@dataclass(frozen=True, slots=True)
class DrivenUnit:
    """A unit that a photograph drives.

    Args:
        unit: its number.
        title: class name in a classifier, else empty.
        share: how unusual the peak is, in words.
        peak: of the unit in the photograph.
        picture: address of the photograph, dimmed where the unit is not active (data:).
        mapped: whether it is dimmed, or the photograph as it is for want of a map.
    """

    unit: int
    title: str
    share: str
    peak: float
    picture: str
    mapped: bool


@dataclass(frozen=True, slots=True)
class DrivenLayer:
    """A layer, and the units of it that a photograph drives most."""

    layer: Layer
    units: tuple[DrivenUnit, ...]


@dataclass(frozen=True, slots=True)
class Driven:
    """A photograph and what it drives.

    Args:
        picture: address of the photograph (data:).
        size: its width and height.
        small: width and height of the pictures of units.
        layers: in forward order.
    """

    picture: str
    size: tuple[int, int]
    small: tuple[int, int]
    layers: tuple[DrivenLayer, ...]


class Explaining:
    """Runs photographs through an index's network, one at a time.

    Args:
        index: open.
        network, weights: see `pipeline.query.indexed_network.index_network`.
        device: where the network runs.
    """

    def __init__(
        self,
        index: Index,
        *,
        network: Network | str | None = None,
        weights: Path | None = None,
        device: Device = "auto",
    ) -> None:
        self._index, self._network, self._weights, self._device = index, network, weights, device
        self._lock = threading.Lock()
        self._explainer: Explainer | None = None

    def explain(self, data: bytes, ordinal: int = ALL_LAYERS) -> Driven:
        """The units that a photograph drives most.

        Args:
            data: the encoded photograph.
            ordinal: of the layer to show; `ALL_LAYERS` for all.

        Raises:
            Upload: when the photograph cannot be used.
            MaxactError: when the network cannot be loaded.
        """
        with self._lock:  # one at a time: a decoded photograph may have 150 MB
            original = open_upload(data)
            if self._explainer is None:
                network = index_network(self._index, network=self._network, weights=self._weights)
                self._explainer = Explainer(self._index, network, device=self._device)
            explained = self._explainer.explain(Photograph("the photograph", data), n=UNITS, maps=True)
        small = shrink(original, SIDE)
        plain = _address(small)
        layers = tuple(
            DrivenLayer(each.layer, tuple(self._unit(small, plain, unit) for unit in each.units))
            for each in explained.layers
            if ordinal in (ALL_LAYERS, each.layer.ordinal)
        )
        if not layers:
            raise LayerError("there is no such layer")
        whole = shrink(original, WHOLE)
        return Driven(_address(whole), whole.size, small.size, layers)

    def _unit(self, small: Image.Image, plain: str, found: UnitResponse) -> DrivenUnit:
        picture = plain
        if found.map is not None:
            picture = _address(spotlight(small, found.map, self._index.preprocess))
        return DrivenUnit(
            found.unit, found.name or "", readable_share(found), found.peak, picture, found.map is not None
        )


def _address(picture: Image.Image) -> str:
    """A picture as an address that needs no request."""
    return f"data:image/webp;base64,{base64.b64encode(encode_webp(picture, QUALITY)).decode('ascii')}"
