"""What is asked of the server: SQL, photographs, renderings and their progress."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial

import anyio
import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from pipeline.errors import MaxactError, QueryError, QueryStopped, UsageError
from viz.server.answers import answer
from viz.server.explaining import ALL_LAYERS
from viz.server.job import ENDED, Job
from viz.server.jobs import Jobs, TooManyJobs
from viz.server.questions import Question
from viz.server.rendering import read_request
from viz.server.served import ServedIndexes
from viz.server.sql_process import Form
from viz.server.uploads import Upload, read_fields, read_upload

__all__ = ["LiveRoutes"]

POLL_SECONDS = 0.15
"""Time between two looks at a job that is watched."""

ALIVE_SECONDS = 10.0
"""Time after which a silent stream sends a comment, so that one that nobody reads is noticed."""

FILES: dict[str, tuple[Form, str]] = {
    "query.csv": ("csv", "text/csv; charset=utf-8"),
    "query.parquet": ("parquet", "application/vnd.apache.parquet"),
}
"""Downloads of a result: form and media type."""

QUERIES_AT_ONCE = 2
"""Queries that run at the same time; others wait, without keeping pages from being made."""

MAX_SHARED = 4000
"""Letters of SQL that an address carries."""


class LiveRoutes:
    """Answers for what a static atlas cannot.

    Args:
        served: what is served.
    """

    def __init__(self, served: ServedIndexes) -> None:
        self._served = served
        self._querying = anyio.CapacityLimiter(QUERIES_AT_ONCE)
        self._explaining = anyio.CapacityLimiter(1)

    def routes(self) -> list[Route]:
        """All of them."""
        index = "/{atlas:int}"
        return [
            Route(f"{index}/query.html", self.box, methods=["GET"]),
            Route(f"{index}/query.html", self.query, methods=["POST"]),
            Route(f"{index}/query.csv", self.download, methods=["POST"]),
            Route(f"{index}/query.parquet", self.download, methods=["POST"]),
            Route(f"{index}/photograph.html", self.chooser, methods=["GET"]),
            Route(f"{index}/photograph.html", self.explain, methods=["POST"]),
            Route(f"{index}/unit/{{ordinal:int}}/{{unit:int}}/render", self.render, methods=["POST"]),
            Route(f"{index}/jobs/{{job:int}}/events", self.events, methods=["GET"]),
            Route(f"{index}/jobs/{{job:int}}/cancel", self.cancel, methods=["POST"]),
        ]

    def box(self, request: Request) -> Response:
        """The box for SQL, filled in from the address: nothing is run."""
        atlas, given = self._served.atlas(request), request.query_params
        question = Question(given.get("sql", "")[:MAX_SHARED], given.get("query", ""), _values(given))
        if question.query is not None and not question.text:
            question = Question(question.query.sql, question.name, question.values)
        return answer(request, atlas.query(question, allowed=self._served.allowed(request)), "text/html")

    async def query(self, request: Request) -> Response:
        """Run SQL, and show the rows."""
        atlas, question = self._served.atlas(request), await _question(request)
        found, problem, status = None, "", 200
        try:
            run = partial(atlas.sql.rows, question.text, question.params())
            found = await anyio.to_thread.run_sync(run, limiter=self._querying)
        except (MaxactError, UsageError) as error:
            problem, status = str(error), 200 if isinstance(error, QueryStopped) else 400
        page = await anyio.to_thread.run_sync(
            partial(atlas.query, question, found, problem, allowed=self._served.allowed(request))
        )
        return answer(request, page, "text/html", status)

    async def download(self, request: Request) -> Response:
        """Run SQL, and send the rows as a file."""
        atlas, question = self._served.atlas(request), await _question(request)
        name = request.url.path.rpartition("/")[2]
        form, kind = FILES[name]
        run = partial(atlas.sql.file, question.text, question.params(), form)
        data = await anyio.to_thread.run_sync(run, limiter=self._querying)
        return Response(
            data, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'}
        )

    def chooser(self, request: Request) -> Response:
        """The page for a photograph of the visitor's."""
        atlas = self._served.atlas(request)
        return answer(request, atlas.photograph(allowed=self._served.allowed(request)), "text/html")

    async def explain(self, request: Request) -> Response:
        """Run a photograph through the network, and show what it drives."""
        atlas = self._served.atlas(request)
        allowed, driven, ordinal, problem, status = self._served.allowed(request), None, ALL_LAYERS, "", 200
        try:
            data, fields = await read_upload(request)
            ordinal = _ordinal(fields.get("layer", ""))
            run = partial(atlas.explaining.explain, data, ordinal)
            driven = await anyio.to_thread.run_sync(run, limiter=self._explaining)
        except Upload as error:
            problem, status = str(error), error.status
        except MaxactError as error:
            problem, status = str(error), 400
        page = await anyio.to_thread.run_sync(
            partial(atlas.photograph, driven, problem, ordinal, allowed=allowed)
        )
        return answer(request, page, "text/html", status)

    async def render(self, request: Request) -> Response:
        """Queue a rendering of a unit."""
        atlas, layer, unit = self._served.unit(request)
        if not atlas.options.render:
            raise HTTPException(403, "this server was started with --no-render")
        asked = read_request(atlas.number, layer, unit, await read_fields(request))
        try:
            job = self._served.jobs.add(asked)
        except TooManyJobs as error:
            raise HTTPException(429, str(error)) from error
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse({"job": job.number}, 202)
        return RedirectResponse(f"../{unit}.html#render", 303)

    async def cancel(self, request: Request) -> Response:
        """End a rendering that waits or runs."""
        job = self._job(request)
        self._served.jobs.cancel(job)
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse({"job": job.number}, 202)
        return RedirectResponse(f"../../unit/{job.asked.ordinal}/{job.asked.unit}.html#render", 303)

    def events(self, request: Request) -> Response:
        """The progress of a rendering, as server-sent events."""
        job = self._job(request)
        return StreamingResponse(
            _follow(self._served.jobs, job),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    def _job(self, request: Request) -> Job:
        atlas = self._served.atlas(request)
        job = self._served.jobs.find(atlas.number, request.path_params["job"])
        if job is None:
            raise HTTPException(404, "there is no such rendering, or it ended long ago")
        return job


async def _follow(jobs: Jobs, job: Job) -> AsyncIterator[str]:
    """Events of a job: what has changed, until it has ended."""
    version, attempt, told, ahead, silent = -1, 1, 0, -1, 0.0
    while True:
        now_ahead = jobs.ahead(job)
        if job.version != version or now_ahead != ahead:
            found = job.snapshot(version, attempt, told, now_ahead)
            version, attempt, ahead, silent = found.version, found.attempt, now_ahead, 0.0
            told = found.told + len(found.scores)
            content = {
                "state": found.state,
                "ahead": found.ahead,
                "step": found.step,
                "steps": found.steps,
                "attempt": found.attempt,
                "told": found.told,
                "scores": [round(score, 4) if score == score else None for score in found.scores],
                "picture": found.picture,
                "message": found.message,
            }
            yield f"data: {json.dumps(content, allow_nan=False)}\n\n"
            if found.state in ENDED:
                return
        if jobs.closed:
            return
        await asyncio.sleep(POLL_SECONDS)
        silent += POLL_SECONDS
        if silent >= ALIVE_SECONDS:
            silent = 0.0
            yield ": alive\n\n"


async def _question(request: Request) -> Question:
    """The SQL of a form.

    Raises:
        QueryError: when there is none.
    """
    fields = await read_fields(request)
    question = Question(fields.get("sql", ""), fields.get("query", ""), _values(fields))
    if not question.text.strip():
        raise QueryError("write a SELECT first, or choose a query")
    return question


def _values(fields: object) -> dict[str, str]:
    """The parameters among the fields of a form: those whose names start with `p.`."""
    items = dict(fields).items()  # type: ignore[call-overload]
    return {name.removeprefix("p."): value for name, value in items if name.startswith("p.")}


def _ordinal(text: str) -> int:
    """The layer that a form names; all for none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else ALL_LAYERS
