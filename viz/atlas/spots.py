"""Where a patch lies in its photograph: what the script needs to draw the photograph around it."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.images.preprocess import Box, Preprocess
from viz.atlas.content import LayerContent, Patch, Photograph
from viz.sheets.patches import seen_window

__all__ = ["Spot", "spot_of"]


@dataclass(frozen=True, slots=True)
class Spot:
    """A patch on its photograph.

    Args:
        photograph: the whole image.
        numbers: width and height of the photograph, then left, top, width and height of the patch, and
            with a mask the same of the part that the network saw: all in pixels of the photograph.
        region: outline of the region that drives the unit, data of an SVG path on the mask's grid;
            empty for none.
    """

    photograph: Photograph
    numbers: str
    region: str = ""


def spot_of(
    content: LayerContent,
    patch: Patch,
    photograph: Photograph,
    preprocess: Preprocess,
    *,
    masked: bool = False,
    region: str = "",
) -> Spot:
    """Place a patch on its photograph.

    Args:
        content: of the patch's layer.
        patch: of a unit.
        photograph: that it was cut from.
        preprocess: from the photograph to the network's input.
        masked: whether there is a mask.
        region: see `Spot`.
    """
    size = photograph.width, photograph.height
    boxes = [preprocess.to_original(seen_window(content.seen, patch.y, patch.x, preprocess), *size)]
    if masked:
        boxes.append(preprocess.to_original(Box(0, 0, preprocess.width, preprocess.height), *size))
    numbers = [*size]
    for box in boxes:
        left, top = round(box.left), round(box.top)
        numbers += [left, top, round(box.right) - left, round(box.bottom) - top]
    return Spot(photograph, " ".join(map(str, numbers)), region)
