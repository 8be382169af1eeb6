"""Open indexes, bind a port, and serve until interrupted."""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.devices import find_device
from pipeline.errors import UsageError
from pipeline.progress import Reporter
from pipeline.query.index import open_index
from pipeline.working_copies import pull
from viz.server.app import make_app
from viz.server.guard import ANYWHERE, Access
from viz.server.job import Job
from viz.server.jobs import Jobs
from viz.server.live_atlas import LiveAtlas, LiveOptions
from viz.server.rendering import Renderer
from viz.server.served import ServedIndexes

__all__ = ["Binding", "open_served", "serve_indexes"]

END_SECONDS = 3.0
"""How long the end of the server waits for the step of a rendering, and for open requests."""


HOST_NAME = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
"""A name of a host (RFC 1123), without a port."""

MAX_NAME = 253
"""Letters of a name of a host (RFC 1035)."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a server listens.

    Args:
        host: name or address.
        port: 0 for any that is free.
        names: more names under which it is reached.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.host.strip():
            raise UsageError("--host is empty; 127.0.0.1 is this machine, 0.0.0.0 every address of it")
        for name in self.names:
            if len(name) > MAX_NAME or not HOST_NAME.fullmatch(name):
                raise UsageError(f"--allow-host takes a name such as lab.example.org, got {name[:80]!r}")


def serve_indexes(
    outs: Sequence[Path],
    binding: Binding,
    options: LiveOptions,
    *,
    data: Sequence[str] = (),
    reporter: Reporter,
    started: Callable[[str], None],
) -> None:
    """Serve the atlas of indexes until interrupted.

    Args:
        outs: folders of indexes.
        binding: where the server listens.
        options: of all of them.
        data: where the dataset is, if it has moved; of a single index.
        reporter: told what cannot be shown.
        started: told the address, with the token, when requests are answered.

    Raises:
        UsageError: for the same index twice, or a place where the server cannot listen.
        StoreError: when a folder holds no finished index.
    """
    import uvicorn

    class Server(uvicorn.Server):
        """Tells when it has started; at its end, ends what requests wait for."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                started(address)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # What is cut off now was asked for by somebody who is told that the server ends.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            served.end()
            await super().shutdown(sockets)

    _refuse_twice(outs)
    if options.device != "auto":
        find_device(options.device)
    with _bind(binding) as bound:
        access = Access.of(binding.host, bound.getsockname()[1], binding.names)
        address = f"http://{_name(binding.host)}:{bound.getsockname()[1]}/?token={access.token}"
        with open_served(outs, access, options, data=data, reporter=reporter) as served:
            config = uvicorn.Config(
                make_app(served),
                log_level="warning",
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=int(END_SECONDS),
                h11_max_incomplete_event_size=1 << 16,
            )
            Server(config).run(sockets=[bound])


@contextlib.contextmanager
def open_served(
    outs: Sequence[Path],
    access: Access,
    options: LiveOptions,
    *,
    data: Sequence[str] = (),
    reporter: Reporter,
) -> Iterator[ServedIndexes]:
    """Open indexes for a server, and close them; see `serve_indexes`."""
    with contextlib.ExitStack() as stack:
        indexes = [
            stack.enter_context(open_index(out, trust=options.trust, data=tuple(data))) for out in outs
        ]
        for index in indexes:
            pull(index.out, "renders/*", "projections/*")
        renderers = [
            Renderer(
                out,
                options.trust,
                tuple(data),
                options.network,
                options.weights,
                options.device,
                options.cache,
            )
            for out in outs
        ]

        def render(job: Job) -> str:
            return renderers[job.asked.atlas].render(job)

        jobs = Jobs(render)
        for renderer in renderers:
            stack.callback(renderer.close)
        stack.callback(jobs.close, END_SECONDS)
        atlases = [
            LiveAtlas(number, index, len(indexes), options, reporter) for number, index in enumerate(indexes)
        ]
        for atlas in atlases:
            # What was given for this call is checked before anybody is served.
            if options.network is not None or options.weights is not None:
                atlas.pictures.load()
            else:
                threading.Thread(target=atlas.pictures.load, name="maxact-load", daemon=True).start()
        yield ServedIndexes(atlases, jobs, access)


def _refuse_twice(outs: Sequence[Path]) -> None:
    seen: dict[Path, Path] = {}
    for out in outs:
        real = out.resolve()
        if real in seen:
            raise UsageError(f"{out} is the same folder as {seen[real]}; give each index once")
        seen[real] = out


def _bind(binding: Binding) -> socket.socket:
    """A socket that listens where it should.

    Raises:
        UsageError: when it cannot.
    """
    try:
        found = socket.getaddrinfo(
            binding.host or None, binding.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {binding.host!r} is no name or address of this machine") from error
    family, kind, protocol, _, place = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
        bound.listen(128)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"port {binding.port} is in use; choose another with --port, or any free one with --port 0"
            ) from error
        reason = error.strerror or error
        raise UsageError(f"cannot listen on {binding.host} port {binding.port}: {reason}") from error
    return bound


def _name(host: str) -> str:
    """A host as an address writes it: the machine's own where it stands for all."""
    if host in ANYWHERE:
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
