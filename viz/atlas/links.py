"""Which pages exist, and who is on them: the images and labels of an atlas."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from viz.atlas.content import LayerContent, Patch, Photograph, UnitContent

__all__ = ["Appearance", "Links", "link_up"]


@dataclass(frozen=True, slots=True)
class Appearance:
    """A unit on the page of an image or a label.

    Args:
        layer: of the unit.
        unit: the unit.
        patch: where it lists the image; None on the page of a label.
        share: on the page of a label, the mean peak over its images, relative to the unit's maximum.
    """

    layer: LayerContent
    unit: UnitContent
    patch: Patch | None = None
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Links:
    """What the pages link to.

    Args:
        photographs: the images that are shown, by image_id.
        by_image: units that list the image among their top images.
        by_label: units among whose labels it is.
        images_of: images shown with the label.
    """

    photographs: Mapping[int, Photograph]
    by_image: dict[int, list[Appearance]] = field(default_factory=lambda: defaultdict(list))
    by_label: dict[str, list[Appearance]] = field(default_factory=lambda: defaultdict(list))
    images_of: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))


def link_up(layers: Sequence[LayerContent], photographs: Mapping[int, Photograph]) -> Links:
    """Collect what every image and label page shows."""
    links = Links(photographs)
    for layer in layers:
        for unit in layer.units:
            for patch in unit.high:
                links.by_image[patch.image_id].append(Appearance(layer, unit, patch))
            if unit.dead:
                continue
            best = float(unit.statistics["max"] or 0)
            for mean in unit.labels:
                share = mean.mean / best if best > 0 else 0.0
                links.by_label[mean.label].append(Appearance(layer, unit, share=share))
    for image_id, photograph in photographs.items():
        if photograph.label is not None:
            links.images_of[photograph.label].append(image_id)
            links.by_label.setdefault(photograph.label, [])
    for found in links.by_image.values():
        found.sort(key=lambda a: (a.patch.place if a.patch else 0, a.layer.layer.ordinal, a.unit.unit))
    for found in links.by_label.values():
        found.sort(key=lambda a: (-a.share, a.layer.layer.ordinal, a.unit.unit))
    return links
