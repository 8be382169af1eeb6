"""Pages and pictures of the atlas: the addresses that `maxact atlas` gives its files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from viz.atlas.static import static_files
from viz.server.answers import Kind, answer
from viz.server.nearest import nearest_units
from viz.server.served import ServedIndexes

__all__ = ["PageRoutes"]

HEXADECIMAL = re.compile(r"[0-9a-f]{1,15}")
"""An image_id in an address: below 2^60."""

KINDS: dict[str, Kind] = {"css": "text/css", "js": "text/javascript", "txt": "text/plain"}

COOKIE_SECONDS = 30 * 24 * 3600


class PageRoutes:
    """Answers for what can be read.

    Args:
        served: what is served.
    """

    def __init__(self, served: ServedIndexes) -> None:
        self._served = served
        self._static = static_files()

    def routes(self) -> list[Route]:
        """All of them."""
        pages: dict[str, Callable[[Request], Response]] = {
            "/": self.root,
            "/{name}": self.static,
            "/{atlas:int}/": self.enter,
            "/{atlas:int}/index.html": self.front,
            "/{atlas:int}/sql.html": self.panel_sql,
            "/{atlas:int}/recipes.html": self.recipes,
            "/{atlas:int}/layer/{ordinal:int}.html": self.layer,
            "/{atlas:int}/unit/{ordinal:int}/{unit:int}.html": self.unit,
            "/{atlas:int}/image/{image}.html": self.image,
            "/{atlas:int}/label/{digest}.html": self.label,
            "/{atlas:int}/data/search.js": self.search_data,
            "/{atlas:int}/data/{ordinal:int}.js": self.layer_data,
            "/{atlas:int}/pictures/{ordinal:int}/{unit:int}.webp": self.card,
            "/{atlas:int}/pictures/{ordinal:int}/{unit:int}-range.webp": self.strip,
            "/{atlas:int}/pictures/{ordinal:int}/{unit:int}-projections.webp": self.projections,
            "/{atlas:int}/pictures/{ordinal:int}/{unit:int}-{number:int}.webp": self.rendering,
            "/{atlas:int}/maps/{ordinal:int}/{unit:int}.png": self.masks,
            "/{atlas:int}/maps/{ordinal:int}/{unit:int}.json": self.regions,
            "/{atlas:int}/photographs/{image}.webp": self.photograph,
            "/{atlas:int}/{name}": self.static,
        }
        return [Route(path, endpoint, methods=["GET"]) for path, endpoint in pages.items()]

    def root(self, request: Request) -> Response:
        """The list of the indexes; with the token, keeps it in a cookie and leads to the list without it."""
        token = request.query_params.get("token")
        if token is not None:
            access = self._served.access
            if not access.is_token(token):
                raise HTTPException(403, "the token is not that of the server that runs now")
            found = RedirectResponse("/", 303)
            found.set_cookie(
                access.cookie, token, max_age=COOKIE_SECONDS, path="/", httponly=True, samesite="strict"
            )
            return found
        if len(self._served.atlases) == 1:
            return RedirectResponse("/0/index.html", 303)
        return answer(request, self._served.listing(), "text/html")

    def enter(self, request: Request) -> Response:
        """Lead to the front page of an index."""
        self._served.atlas(request)
        return RedirectResponse("index.html", 303)

    def static(self, request: Request) -> Response:
        """A style sheet, the script, the licence of the typeface."""
        if "atlas" in request.path_params:
            self._served.atlas(request)
        name = request.path_params["name"]
        if name not in self._static:
            raise HTTPException(404, "there is no such page")
        return answer(request, self._static[name], KINDS[name.rpartition(".")[2]])

    def front(self, request: Request) -> Response:
        """The front page of an index."""
        return answer(request, self._served.atlas(request).front(), "text/html")

    def panel_sql(self, request: Request) -> Response:
        """The SQL behind the panels."""
        return answer(request, self._served.atlas(request).panel_sql(), "text/html")

    def recipes(self, request: Request) -> Response:
        """The recipes and their options."""
        return answer(request, self._served.atlas(request).recipes(), "text/html")

    def layer(self, request: Request) -> Response:
        """The page of a layer."""
        atlas, layer = self._served.layer(request)
        return answer(request, atlas.layer(layer), "text/html")

    def layer_data(self, request: Request) -> Response:
        """The script of a layer's page."""
        atlas, layer = self._served.layer(request)
        return answer(request, atlas.layer_data(layer), "text/javascript")

    def search_data(self, request: Request) -> Response:
        """The script for the search."""
        return answer(request, self._served.atlas(request).search_data(), "text/javascript")

    def unit(self, request: Request) -> Response:
        """The page of a unit."""
        atlas, layer, unit = self._served.unit(request)
        jobs = self._served.jobs.of_unit(atlas.number, layer.ordinal, unit)
        nearest = [*nearest_units(atlas, layer, unit, self._served.atlases)]
        page = atlas.unit(layer, unit, jobs, nearest, allowed=self._served.allowed(request))
        return answer(request, page, "text/html")

    def image(self, request: Request) -> Response:
        """The page of an image."""
        atlas = self._served.atlas(request)
        return self._found(request, atlas.image(_image_id(request)), "text/html")

    def label(self, request: Request) -> Response:
        """The page of a label."""
        atlas = self._served.atlas(request)
        return self._found(request, atlas.label(f"label/{request.path_params['digest']}.html"), "text/html")

    def card(self, request: Request) -> Response:
        """The card of a unit."""
        atlas, layer, unit = self._served.unit(request)
        return answer(request, atlas.pictures.card(layer, unit), "image/webp")

    def strip(self, request: Request) -> Response:
        """The patches of a unit's range."""
        atlas, layer, unit = self._served.unit(request)
        return answer(request, atlas.pictures.strip(layer, unit), "image/webp")

    def masks(self, request: Request) -> Response:
        """The masks of a unit."""
        atlas, layer, unit = self._served.unit(request)
        return self._found(request, atlas.pictures.masks(layer, unit), "image/png")

    def regions(self, request: Request) -> Response:
        """Outlines of what drives a unit in its top images."""
        atlas, layer, unit = self._served.unit(request)
        return answer(request, json.dumps(atlas.pictures.regions(layer, unit)), "application/json")

    def rendering(self, request: Request) -> Response:
        """One rendering of a unit."""
        atlas, layer, unit = self._served.unit(request)
        number = request.path_params["number"]
        return self._found(request, atlas.pictures.rendering(layer, unit, number), "image/webp")

    def projections(self, request: Request) -> Response:
        """The projections of a unit."""
        atlas, layer, unit = self._served.unit(request)
        return self._found(request, atlas.pictures.projections(layer, unit), "image/webp")

    def photograph(self, request: Request) -> Response:
        """A whole photograph."""
        atlas, image_id = self._served.atlas(request), _image_id(request)
        if not atlas.contents.photographs([image_id]):
            raise HTTPException(404, "this index has no such image")
        return answer(request, atlas.pictures.photograph(image_id), "image/webp")

    @staticmethod
    def _found(request: Request, content: str | bytes | None, kind: Kind) -> Response:
        """An answer, where there is one."""
        if content is None:
            raise HTTPException(404, "this index has nothing there")
        return answer(request, content, kind)


def _image_id(request: Request) -> int:
    """The image_id in an address.

    Raises:
        HTTPException: when it is none.
    """
    text = request.path_params["image"]
    if not HEXADECIMAL.fullmatch(text):
        raise HTTPException(404, "this index has no such image")
    return int(text, 16)
