"""What a server has: its indexes, the queue of renderings, and the page that lists the indexes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException
from starlette.requests import Request

from pipeline.layers.layer import Layer
from viz.server.guard import ALLOWED, Access
from viz.server.jobs import Jobs
from viz.server.live_atlas import LiveAtlas

__all__ = ["ServedIndexes"]


@dataclass(frozen=True, slots=True)
class ServedIndexes:
    """The indexes of a server, and what they share.

    Args:
        atlases: the atlas of every index.
        jobs: renderings that were asked for.
        access: how the server may be reached.
    """

    atlases: Sequence[LiveAtlas]
    jobs: Jobs
    access: Access = field(repr=False)

    def atlas(self, request: Request) -> LiveAtlas:
        """The atlas that a request's address names.

        Raises:
            HTTPException: when there is none.
        """
        number: int = request.path_params["atlas"]
        if number >= len(self.atlases):
            raise HTTPException(404, f"there is no index {number} here")
        atlas = self.atlases[number]
        if not atlas.contents.is_current():
            raise HTTPException(503, "the index was made anew since the server was started; start it again")
        return atlas

    def layer(self, request: Request) -> tuple[LiveAtlas, Layer]:
        """The layer that a request's address names; raises as `atlas`."""
        atlas = self.atlas(request)
        layer = atlas.contents.layer(request.path_params["ordinal"])
        if layer is None:
            raise HTTPException(404, f"this index has no layer {request.path_params['ordinal']}")
        return atlas, layer

    def unit(self, request: Request) -> tuple[LiveAtlas, Layer, int]:
        """The unit that a request's address names; raises as `atlas`."""
        atlas, layer = self.layer(request)
        unit = request.path_params["unit"]
        if unit >= layer.units:
            raise HTTPException(404, f"the layer has {layer.units:,} units, numbered from 0")
        return atlas, layer, unit

    def end(self) -> None:
        """End renderings, the streams that follow them, and queries."""
        self.jobs.close(0)
        for atlas in self.atlases:
            atlas.sql.end()

    def listing(self) -> str:
        """The page that lists the indexes."""
        return self.atlases[0].pages.page("indexes.html", "index.html", atlases=self.atlases)[1]

    @staticmethod
    def allowed(request: Request) -> bool:
        """Whether a request carries the token."""
        return bool(request.scope.get(ALLOWED))
