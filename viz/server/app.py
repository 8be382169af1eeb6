"""The application: guard, addresses, and what is said when something goes wrong."""

from __future__ import annotations

import logging

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipeline.errors import MaxactError, UsageError
from pipeline.visible import visible
from viz.server.answers import answer
from viz.server.guard import Guard
from viz.server.live_routes import LiveRoutes
from viz.server.page_routes import PageRoutes
from viz.server.served import ServedIndexes
from viz.server.uploads import Upload

__all__ = ["make_app"]

TITLES = {
    400: "That cannot be done",
    403: "Not allowed",
    404: "Nothing is there",
    405: "Not allowed",
    413: "Too large",
    415: "Another kind of form is expected",
    429: "Too much at once",
    503: "Not available",
}


def make_app(served: ServedIndexes) -> Guard:
    """The application that serves indexes.

    Args:
        served: what is served.
    """
    problems = _Problems(served)
    inner = Starlette(
        routes=[*LiveRoutes(served).routes(), *PageRoutes(served).routes()],
        exception_handlers={
            HTTPException: problems.http,
            Upload: problems.upload,
            MaxactError: problems.error,
            Exception: problems.unexpected,
        },
    )
    inner.router.redirect_slashes = False
    return Guard(inner, served.access)


class _Problems:
    """Answers that say what went wrong: a page where one was asked for, else a line of text."""

    def __init__(self, served: ServedIndexes) -> None:
        self._served = served

    def http(self, request: Request, error: Exception) -> Response:
        """What Starlette or a route refuses."""
        assert isinstance(error, HTTPException)
        return self._say(request, error.status_code, error.detail)

    def upload(self, request: Request, error: Exception) -> Response:
        """A form or a file that cannot be used."""
        assert isinstance(error, Upload)
        return self._say(request, error.status, str(error))

    def error(self, request: Request, error: Exception) -> Response:
        """A wrong request, or an index or a dataset that cannot be read."""
        return self._say(request, 400 if isinstance(error, UsageError) else 503, str(error))

    def unexpected(self, request: Request, error: Exception) -> Response:
        """A fault of the program: the log says which."""
        logging.getLogger("uvicorn.error").error("%s failed: %r", visible(request.url.path), error)
        return self._say(request, 500, "the server has failed; what it has printed says why")

    def _say(self, request: Request, status: int, message: str) -> Response:
        message = visible(message)
        number, _, rest = request.url.path.removeprefix("/").partition("/")
        known = {str(atlas.number): atlas for atlas in self._served.atlases}
        if number in known and "text/html" in request.headers.get("accept", ""):
            page = known[number].problem(rest, TITLES.get(status, "That failed"), message)
            return answer(request, page, "text/html", status)
        return answer(request, f"{message}\n", "text/plain", status)
