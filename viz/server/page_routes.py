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
from viz.server.library import Library

__all__ = ["PageRoutes"]

HEXADECIMAL = re.compile(r"[0-9a-f]{1,15}")
"""An image_id in an address: below 2^60."""

KINDS: dict[str, Kind] = {"css": "text/css", "js": "text/javascript", "txt": "text/plain"}

COOKIE_SECONDS = 30 * 24 * 3600


class PageRoutes:
    """Answers for what can be read.

    Args:
        library: what is served.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._static = static_files()

    def routes(self) -> list[Route]:
        """All of them."""
        pages: dict[str, Callable[[Request], Response]] = {
            "/": self.root,
            "/{name}": self.static,
            "/{book:int}/": self.enter,
            "/{book:int}/index.html": self.front,
            "/{book:int}/sql.html": self.panel_sql,
            "/{book:int}/recipes.html": self.recipes,
            "/{book:int}/layer/{ordinal:int}.html": self.layer,
            "/{book:int}/unit/{ordinal:int}/{unit:int}.html": self.unit,
            "/{book:int}/image/{image}.html": self.image,
            "/{book:int}/label/{digest}.html": self.label,
            "/{book:int}/data/search.js": self.search_data,
            "/{book:int}/data/{ordinal:int}.js": self.layer_data,
            "/{book:int}/pictures/{ordinal:int}/{unit:int}.webp": self.card,
            "/{book:int}/pictures/{ordinal:int}/{unit:int}-range.webp": self.strip,
            "/{book:int}/pictures/{ordinal:int}/{unit:int}-projections.webp": self.projections,
            "/{book:int}/pictures/{ordinal:int}/{unit:int}-{number:int}.webp": self.rendering,
            "/{book:int}/maps/{ordinal:int}/{unit:int}.png": self.masks,
            "/{book:int}/maps/{ordinal:int}/{unit:int}.json": self.regions,
            "/{book:int}/photographs/{image}.webp": self.photograph,
            "/{book:int}/{name}": self.static,
        }
        return [Route(path, endpoint, methods=["GET"]) for path, endpoint in pages.items()]

    def root(self, request: Request) -> Response:
        """The list of the indexes; with the token, keeps it in a cookie and leads to the list without it."""
        token = request.query_params.get("token")
        if token is not None:
            access = self._library.access
            if not access.is_token(token):
                raise HTTPException(403, "the token is not that of the server that runs now")
            found = RedirectResponse("/", 303)
            found.set_cookie(
                access.cookie, token, max_age=COOKIE_SECONDS, path="/", httponly=True, samesite="strict"
            )
            return found
        if len(self._library.books) == 1:
            return RedirectResponse("/0/index.html", 303)
        return answer(request, self._library.listing(), "text/html")

    def enter(self, request: Request) -> Response:
        """Lead to the front page of an index."""
        self._library.book(request)
        return RedirectResponse("index.html", 303)

    def static(self, request: Request) -> Response:
        """A style sheet, the script, the licence of the typeface."""
        if "book" in request.path_params:
            self._library.book(request)
        name = request.path_params["name"]
        if name not in self._static:
            raise HTTPException(404, "there is no such page")
        return answer(request, self._static[name], KINDS[name.rpartition(".")[2]])

    def front(self, request: Request) -> Response:
        """The front page of an index."""
        return answer(request, self._library.book(request).front(), "text/html")

    def panel_sql(self, request: Request) -> Response:
        """The SQL behind the panels."""
        return answer(request, self._library.book(request).panel_sql(), "text/html")

    def recipes(self, request: Request) -> Response:
        """The recipes and their options."""
        return answer(request, self._library.book(request).recipes(), "text/html")

    def layer(self, request: Request) -> Response:
        """The page of a layer."""
        book, layer = self._library.layer(request)
        return answer(request, book.layer(layer), "text/html")

    def layer_data(self, request: Request) -> Response:
        """The script of a layer's page."""
        book, layer = self._library.layer(request)
        return answer(request, book.layer_data(layer), "text/javascript")

    def search_data(self, request: Request) -> Response:
        """The script for the search."""
        return answer(request, self._library.book(request).search_data(), "text/javascript")

    def unit(self, request: Request) -> Response:
        """The page of a unit."""
        book, layer, unit = self._library.unit(request)
        jobs = self._library.jobs.of_unit(book.number, layer.ordinal, unit)
        page = book.unit(layer, unit, jobs, allowed=self._library.allowed(request))
        return answer(request, page, "text/html")

    def image(self, request: Request) -> Response:
        """The page of an image."""
        book = self._library.book(request)
        return self._found(request, book.image(_image_id(request)), "text/html")

    def label(self, request: Request) -> Response:
        """The page of a label."""
        book = self._library.book(request)
        return self._found(request, book.label(f"label/{request.path_params['digest']}.html"), "text/html")

    def card(self, request: Request) -> Response:
        """The card of a unit."""
        book, layer, unit = self._library.unit(request)
        return answer(request, book.pictures.card(layer, unit), "image/webp")

    def strip(self, request: Request) -> Response:
        """The patches of a unit's range."""
        book, layer, unit = self._library.unit(request)
        return answer(request, book.pictures.strip(layer, unit), "image/webp")

    def masks(self, request: Request) -> Response:
        """The masks of a unit."""
        book, layer, unit = self._library.unit(request)
        return self._found(request, book.pictures.masks(layer, unit), "image/png")

    def regions(self, request: Request) -> Response:
        """Outlines of what drives a unit in its top images."""
        book, layer, unit = self._library.unit(request)
        return answer(request, json.dumps(book.pictures.regions(layer, unit)), "application/json")

    def rendering(self, request: Request) -> Response:
        """One rendering of a unit."""
        book, layer, unit = self._library.unit(request)
        number = request.path_params["number"]
        return self._found(request, book.pictures.rendering(layer, unit, number), "image/webp")

    def projections(self, request: Request) -> Response:
        """The projections of a unit."""
        book, layer, unit = self._library.unit(request)
        return self._found(request, book.pictures.projections(layer, unit), "image/webp")

    def photograph(self, request: Request) -> Response:
        """A whole photograph."""
        book, image_id = self._library.book(request), _image_id(request)
        if not book.contents.photographs([image_id]):
            raise HTTPException(404, "this index has no such image")
        return answer(request, book.pictures.photograph(image_id), "image/webp")

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
