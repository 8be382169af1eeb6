"""A small web server with range requests, in a thread; and one that misbehaves on request."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest


class Files(http.server.BaseHTTPRequestHandler):
    """Serves `files` with range requests, unless told not to, failing every few requests."""

    files: dict[str, bytes]
    ranges = True
    fail_every = 0
    requests = 0

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        cls = type(self)
        cls.requests += 1
        data = self.files.get(self.path.partition("?")[0])
        if cls.fail_every and cls.requests % cls.fail_every == 0:
            self.send_error(503)
            return
        if data is None:
            self.send_error(404)
            return
        wanted = self.headers.get("Range")
        if wanted and self.ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            size = len(data)
            data = data[int(first) : int(last) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        else:
            self.send_response(200)
        if self.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.fixture
def server() -> Iterator[tuple[str, type[Files]]]:
    handler = type("Handler", (Files,), {"files": {}, "requests": 0})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", handler
        httpd.shutdown()
        thread.join()
