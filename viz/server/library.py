"""What a server has: its indexes, the queue of renderings, and the page that lists the indexes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException
from starlette.requests import Request

from pipeline.layers.layer import Layer
from viz.server.book import Book
from viz.server.guard import ALLOWED, Access
from viz.server.jobs import Jobs

__all__ = ["Library"]


@dataclass(frozen=True, slots=True)
class Library:
    """The indexes of a server, and what they share.

    Args:
        books: the atlas of every index.
        jobs: renderings that were asked for.
        access: how the server may be reached.
    """

    books: Sequence[Book]
    jobs: Jobs
    access: Access = field(repr=False)

    def book(self, request: Request) -> Book:
        """The atlas that a request's address names.

        Raises:
            HTTPException: when there is none.
        """
        number: int = request.path_params["book"]
        if number >= len(self.books):
            raise HTTPException(404, f"there is no index {number} here")
        return self.books[number]

    def layer(self, request: Request) -> tuple[Book, Layer]:
        """The layer that a request's address names; raises as `book`."""
        book = self.book(request)
        layer = book.contents.layer(request.path_params["ordinal"])
        if layer is None:
            raise HTTPException(404, f"this index has no layer {request.path_params['ordinal']}")
        return book, layer

    def unit(self, request: Request) -> tuple[Book, Layer, int]:
        """The unit that a request's address names; raises as `book`."""
        book, layer = self.layer(request)
        unit = request.path_params["unit"]
        if unit >= layer.units:
            raise HTTPException(404, f"the layer has {layer.units:,} units, numbered from 0")
        return book, layer, unit

    def listing(self) -> str:
        """The page that lists the indexes."""
        return self.books[0].pages.page("indexes.html", "index.html", books=self.books)[1]

    @staticmethod
    def allowed(request: Request) -> bool:
        """Whether a request carries the token."""
        return bool(request.scope.get(ALLOWED))
