"""One atlas with hostile names for all tests in a browser, and pages that report what went wrong."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from PIL import Image

from pipeline.query.index import open_index
from pipeline.store.schemas import SCHEMAS
from pipeline.store.tables import read_table, write_table
from tests.fixtures.browser import open_browser, why_not
from tests.fixtures.renders import rendered
from tests.fixtures.small_index import build_index
from tests.fixtures.tables import edit_run
from viz.atlas.build import build_atlas
from viz.render.table import merge_renders

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "../../../etc/passwd",
    "a" * 300,
    "\u202egnp.exe",
    "CON",
    "con",
    "nul\x01byte",
    "</title><b>",
    "{{ 7 * 7 }}",
    "zero\u200bwidth",
    "\u0634\u0643\u0644 & 'quoted'",
)

LAYER = "</bdi><img src=x onerror=alert(2)>"
"""Takes the place of `blocks.1`."""


@dataclass(slots=True)
class Site:
    """A built atlas.

    Args:
        folder: of the pages.
        address: of the front page's folder, with a slash at its end.
        requests: addresses that a page asked for and that are not below it.
        messages: warnings, errors and dialogues of the browser.
    """

    folder: Path
    address: str
    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def __call__(self, page: str) -> str:
        """The address of a page."""
        return self.address + page


def make_hostile(out: Path) -> None:
    """Give images, labels, classes and a layer names that are markup, paths or invisible."""
    for name, schema in SCHEMAS.items():
        rows = read_table(out / f"{name}.parquet").to_pylist()
        for number, row in enumerate(rows):
            if row.get("layer") == "blocks.1":
                row["layer"] = LAYER
            if name == "images":
                row["label"] = HOSTILE[number % len(HOSTILE)]
            if name == "classes":
                row["label"] = HOSTILE[(number * 5 + row["unit"]) % len(HOSTILE)]
        write_table(out / f"{name}.parquet", schema, [pa.Table.from_pylist(rows, schema=schema)])
    edit_run(out, lambda run: run["network"].update(name="<b>shapes</b>", classes=list(HOSTILE[:6])))


@pytest.fixture(scope="session")
def hostile_atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an atlas of 24 units, three of which are rendered."""
    out = build_index(tmp_path_factory.mktemp("hostile"))
    make_hostile(out)
    rows = [
        rendered(ratio, layer=LAYER, unit=unit, file=f"renders/{unit}.png", recipe="fourier")
        for unit, ratio in ((3, 1.5), (4, 0.5), (7, 2.5))
    ]
    (out / "renders").mkdir()
    for row in rows:
        Image.new("RGB", (60, 50), (20 * row.unit, 90, 120)).save(out / row.file)
    merge_renders(out, rows)
    with open_index(out) as index, open_index(out) as other:
        return build_atlas(index, maps=False, other=other).page.parent


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for a module: while it is open, an event loop runs that other tests would trip over."""
    if reason := why_not():
        pytest.skip(reason)
    with open_browser() as opened:
        yield opened


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def served(hostile_atlas: Path) -> Iterator[str]:
    """The address of the atlas over HTTP."""
    handler = functools.partial(_Quiet, directory=str(hostile_atlas))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture(params=["file", "http"])
def site(request: pytest.FixtureRequest, hostile_atlas: Path) -> Site:
    """The atlas, opened from disk and over HTTP."""
    if reason := why_not():
        pytest.skip(reason)
    if request.param == "http":
        return Site(hostile_atlas, request.getfixturevalue("served"))
    return Site(hostile_atlas, hostile_atlas.resolve().as_uri() + "/")


def watch(page: Page, site: Site) -> Page:
    """Note messages, errors and dialogues of a page, and requests to elsewhere."""
    page.on("console", lambda message: site.messages.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: site.messages.append(f"error: {error}"))

    def refuse(dialog: object) -> None:
        site.messages.append(f"dialogue: {dialog}")
        dialog.dismiss()  # type: ignore[attr-defined]

    page.on("dialog", refuse)

    def note(request: object) -> None:
        if not request.url.startswith((site.address, "data:")):  # type: ignore[attr-defined]
            site.requests.append(request.url)  # type: ignore[attr-defined]

    page.on("request", note)
    return page


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A page on which nothing may go wrong."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield watch(context.new_page(), site)
    context.close()
    assert not site.messages
    assert not site.requests
