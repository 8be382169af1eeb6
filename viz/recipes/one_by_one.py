"""Recipes of which each rendering is made from one top image."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from viz.inputs.top_images import TopImages

__all__ = ["OneByOne"]


class OneByOne:
    """What such recipes answer; put it before the kind of recipe among the bases.

    Attributes:
        images: how many of a unit's top images are rendered from; an option of the recipe.
    """

    __slots__ = ()

    images: int

    @property
    def renderings(self) -> int:
        """One for each top image."""
        return self.images

    @property
    def top_images(self) -> int:
        """One for each rendering."""
        return self.images

    def divide(self, top: TopImages) -> list[TopImages]:
        """Each image for itself."""
        return top.one_by_one()
