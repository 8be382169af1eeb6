"""Maps of what drives units in their top images, for layers that see the whole input.

Nine whole photographs say little about such a unit. The map is the unit's activation map, or for a layer
without positions activation times gradient at the last default layer that has them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.choices import Device
from pipeline.explain.explainer import Explainer
from pipeline.explain.photographs import Photograph
from pipeline.images.preprocess import Preprocess
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.query.index import Index

__all__ = ["Spotlights", "sees_all"]

Map = npt.NDArray[np.float32]
"""(y, x) over the grid of a layer."""


def sees_all(layer: Layer, preprocess: Preprocess) -> bool:
    """Whether a position of a layer sees the whole input."""
    return layer.rf_h >= preprocess.height and layer.rf_w >= preprocess.width


class Spotlights:
    """Runs images of an index through its network again, for the maps of some units of a layer.

    Args:
        index: open.
        network: that was indexed.
        layer: of the index.
        device: where the network runs.
    """

    def __init__(self, index: Index, network: Network, layer: Layer, *, device: Device = "auto") -> None:
        self._index, self._layer = index, layer.name
        self._explainer = Explainer(index, network, layers=[layer.name], device=device)

    def maps(self, image_id: int, units: Sequence[int]) -> dict[int, Map]:
        """The maps of units in one image; a unit without a map is left out.

        Raises:
            SourceError: when the image cannot be read or decoded.
        """
        photograph = Photograph(str(image_id), self._index.image_bytes(image_id), image_id)
        wanted = {self._layer: [*dict.fromkeys(units)]}
        (layer,) = self._explainer.explain(photograph, units=wanted, maps=True).layers
        return {unit.unit: unit.map for unit in layer.units if unit.map is not None}
