"""The live atlas in a browser: SQL, photographs, the camera, renderings, other sites, hostile names."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.progress import Silent
from tests.fixtures.browser import open_browser, why_not
from tests.fixtures.tiny import picture, tiny_network
from tests.viz.atlas.conftest import HOSTILE, LAYER
from viz.atlas.addresses import label_page
from viz.render.table import load_renders
from viz.server.app import make_app
from viz.server.guard import Access
from viz.server.live_atlas import LiveOptions
from viz.server.run import open_served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

AXE = Path(__file__).parents[3] / "viz/atlas/web/node_modules/axe-core/axe.min.js"

PAGES = (
    "0/index.html",
    "0/layer/0.html",
    "0/unit/0/1.html",
    "0/query.html",
    "0/photograph.html",
    "0/recipes.html",
)

FLAGS = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--host-resolver-rules=MAP evil.example 127.0.0.1",
)
"""A camera that shows a pattern, and a name elsewhere that leads to this machine."""


@dataclass(slots=True)
class Live:
    """A running server.

    Args:
        out: folder of the first index.
        address: with a slash at its end.
        token: that changes need.
        messages: warnings, errors and dialogues of the browser.
        requests: addresses that a page asked for and that are not below it.
    """

    out: Path
    address: str
    token: str
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def run(server: object, sockets: list[object]) -> Iterator[None]:
    """Run a server in a thread."""
    thread = threading.Thread(target=server.run, kwargs={"sockets": sockets}, daemon=True)  # type: ignore[attr-defined]
    thread.start()
    while not server.started:  # type: ignore[attr-defined]
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True  # type: ignore[attr-defined]
        thread.join(10)


@pytest.fixture(scope="module")
def live(tiny_out: Path, hostile_out: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server of an index that may be written to, and of one with hostile names."""
    if reason := why_not():
        pytest.skip(reason)
    import socket

    import uvicorn

    place = tmp_path_factory.mktemp("live") / "place"
    shutil.copytree(tiny_out.parent, place)
    out = place / "index"
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        access = Access.of("127.0.0.1", port)
        options = LiveOptions(network=tiny_network(), seconds=20)
        with (
            open_served([out], access, options, reporter=Silent()) as served,
            open_served(
                [hostile_out, hostile_out], access, LiveOptions(maps=False, render=False), reporter=Silent()
            ) as hostile,
        ):
            served.atlases.append(hostile.atlases[1])  # type: ignore[attr-defined]
            config = uvicorn.Config(
                make_app(served), log_level="warning", lifespan="off", timeout_graceful_shutdown=1
            )
            with run(uvicorn.Server(config), [bound]):
                yield Live(out, f"http://127.0.0.1:{port}/", access.token)


@pytest.fixture(scope="module")
def browser(live: Live) -> Iterator[Browser]:
    with open_browser(*FLAGS) as opened:
        yield opened


def watch(page: Page, live: Live) -> Page:
    """Note messages, errors, dialogues, and requests to elsewhere."""
    page.on("console", lambda message: live.messages.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: live.messages.append(f"error: {error}"))

    def refuse(dialog: object) -> None:
        live.messages.append(f"dialogue: {dialog}")
        dialog.dismiss()  # type: ignore[attr-defined]

    def note(request: object) -> None:
        if not request.url.startswith((live.address, "data:", "blob:")):  # type: ignore[attr-defined]
            live.requests.append(request.url)  # type: ignore[attr-defined]

    page.on("dialog", refuse)
    page.on("request", note)
    return page


def wait(page: Page, expression: str) -> None:
    """Wait until an expression holds; Playwright's own way needs `eval`, which the pages forbid."""
    end = time.monotonic() + 30
    while not page.evaluate(f"Boolean({expression})"):
        assert time.monotonic() < end, expression
        time.sleep(0.05)


@pytest.fixture
def page(browser: Browser, live: Live) -> Iterator[Page]:
    """A page of somebody who has opened the printed address; nothing may go wrong on it."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    opened = watch(context.new_page(), live)
    opened.goto(f"{live.address}?token={live.token}")
    assert opened.url == live.address
    yield opened
    context.close()
    messages, requests = [*live.messages], [*live.requests]
    live.messages.clear()
    live.requests.clear()
    assert not messages
    assert not requests


def test_from_the_indexes_to_a_photograph_and_its_label(page: Page, live: Live) -> None:
    page.get_by_role("link", name="tiny").click()
    assert page.url == f"{live.address}0/index.html"
    page.get_by_role("link", name="first", exact=True).click()
    wait(page, "document.querySelector('#units')?.classList.contains('windowed')")
    page.get_by_label("Sort by").select_option("max")
    page.locator("#u3 a").click()
    assert page.url == f"{live.address}0/unit/0/3.html"
    page.wait_for_load_state()
    page.keyboard.press("j")
    page.wait_for_url("**/unit/0/4.html")
    patch = page.locator(".patches a").first
    patch.hover()
    page.locator(".whole .frame svg .mask image").wait_for(state="attached")
    patch.click()
    page.locator("p a").first.click()
    assert "/label/" in page.url
    page.goto(f"{live.address}1/index.html")
    page.get_by_role("link", name="Indexes").click()
    assert page.url == live.address
    page.goto(f"{live.address}0/index.html")
    page.keyboard.press("/")
    page.keyboard.type("first 2")
    page.wait_for_selector("#hits a")
    page.keyboard.press("Enter")
    page.wait_for_url("**/0/unit/0/2.html")


def test_sql(page: Page, live: Live) -> None:
    page.goto(f"{live.address}0/index.html")
    page.get_by_role("link", name="SQL", exact=True).click()
    page.locator("#named button").wait_for(state="hidden")  # the script is there, and shows what is chosen
    page.get_by_label("Named query").select_option("top_images")
    page.wait_for_url("**query=top_images**")
    page.get_by_label("$unit", exact=True).fill("1")
    page.get_by_label("$n", exact=True).fill("4")
    page.get_by_role("button", name="Run").click()
    page.wait_for_selector("#rows")
    assert page.locator("#rows h2").inner_text() == "4 rows"
    wait(page, "[...document.querySelectorAll('#rows img')].every(img => img.naturalWidth > 0)")
    assert page.locator("#rows img.image").count() == 4
    page.locator("textarea").fill("SELECT layer, unit FROM units")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#rows img.card")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    assert Path(download.value.path()).read_text().splitlines()[0] == "layer,unit"
    assert download.value.suggested_filename == "query.csv"
    page.locator("textarea").fill("SELECT * FROM range(100000)")
    page.get_by_role("button", name="Run").click()
    page.wait_for_selector("text=The row limit was reached")
    shared = page.get_by_role("link", name="Link to this query").get_attribute("href")
    page.goto(f"{live.address}0/{shared}")
    assert page.locator("textarea").input_value() == "SELECT * FROM range(100000)"
    assert not page.locator("#rows").count()


def test_a_query_that_is_refused_says_why(page: Page, live: Live) -> None:
    page.goto(f"{live.address}0/query.html")
    page.locator("textarea").fill("DROP TABLE units")
    page.get_by_role("button", name="Run").click()
    page.get_by_role("alert").wait_for()
    assert page.get_by_role("alert").inner_text() == "only SELECT runs here"
    assert live.messages.pop().startswith("error: Failed to load resource")  # the status 400
    assert not live.messages


DROP = """
async ([data, kind]) => {
  const bytes = Uint8Array.from(data);
  const moved = new DataTransfer();
  moved.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
  const event = kind === "drop"
    ? new DragEvent("drop", { dataTransfer: moved, bubbles: true, cancelable: true })
    : new ClipboardEvent("paste", { clipboardData: moved, bubbles: true });
  document.body.dispatchEvent(event);
}
"""


@pytest.mark.parametrize("way", ["choose", "drop", "paste"])
def test_a_photograph_of_ones_own(page: Page, live: Live, tmp_path: Path, way: str) -> None:
    page.goto(f"{live.address}0/photograph.html")
    data = picture(99, side=40)
    if way == "choose":
        (tmp_path / "own.png").write_bytes(data)
        page.locator("input[type=file]").set_input_files(tmp_path / "own.png")
    else:
        page.evaluate(DROP, [list(data), way])
    page.wait_for_selector(".driven a")
    assert page.get_by_role("status").inner_text().endswith("units")
    assert page.locator(".driven li").count() == 8
    wait(page, "[...document.querySelectorAll('.driven img')].every(img => img.naturalWidth > 0)")
    page.locator(".driven a").first.click()
    page.wait_for_url("**/0/unit/0/*.html")


def test_a_photograph_without_scripts(browser: Browser, live: Live, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{live.address}?token={live.token}")
    page.goto(f"{live.address}0/photograph.html")
    (tmp_path / "own.png").write_bytes(picture(3, side=40))
    page.locator("input[type=file]").set_input_files(tmp_path / "own.png")
    page.get_by_role("button", name="Show what it drives").click()
    page.wait_for_selector(".driven a")
    context.close()


def test_a_file_that_is_no_photograph(page: Page, live: Live, tmp_path: Path) -> None:
    page.goto(f"{live.address}0/photograph.html")
    (tmp_path / "own.png").write_bytes(b"no picture")
    page.locator("input[type=file]").set_input_files(tmp_path / "own.png")
    page.get_by_role("alert").wait_for()
    assert "cannot be used" in page.get_by_role("alert").inner_text()
    assert live.messages.pop().startswith("error: Failed to load resource")  # the status 400
    assert not live.messages


def test_the_camera(page: Page, live: Live) -> None:
    page.goto(f"{live.address}0/photograph.html")
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take a frame").click()
    page.wait_for_selector(".driven a")
    first = page.locator("#results .photograph").get_attribute("src")
    page.get_by_label("one after another").check()
    wait(page, f"document.querySelector('#results .photograph').getAttribute('src') !== {first!r}")
    page.get_by_role("button", name="Turn the camera off").click()
    assert not page.locator("video").is_visible()


def test_a_rendering_climbs_and_is_kept(page: Page, live: Live) -> None:
    page.goto(f"{live.address}0/unit/0/2.html")
    assert page.get_by_text("Not rendered yet").is_visible()
    page.get_by_label("Recipe").select_option("fourier")
    page.get_by_label("Steps").fill("400")
    page.get_by_label("Seed").fill("3")
    page.get_by_role("button", name="Render", exact=True).click()
    page.wait_for_selector("#jobs img:not([hidden])")
    wait(page, "document.querySelector('#jobs .trace path').getAttribute('d').split('L').length > 3")
    wait(page, "/step \\d+ of 400/.test(document.querySelector('#jobs').innerText)")
    page.wait_for_selector(".renderings figure", timeout=60_000)
    assert not page.locator("#jobs li").count()
    (row,) = (row for row in load_renders(live.out) if row.unit == 2 and row.layer == "first")
    assert (row.recipe, row.seed, row.steps) == ("fourier", 3, 400)


def test_renderings_queue_and_are_cancelled(page: Page, live: Live) -> None:
    before = len(load_renders(live.out))
    page.goto(f"{live.address}0/unit/0/4.html")
    page.get_by_label("Recipe").select_option("fourier")
    page.get_by_label("Steps").fill("100000")
    for _ in range(2):
        page.get_by_role("button", name="Render", exact=True).click()
    page.wait_for_selector("text=queued, 1 before it")
    page.reload()  # they are still there
    wait(page, "/step \\d+ of 100000/.test(document.querySelector('#jobs').innerText)")
    assert page.locator("#jobs li").count() == 2
    page.get_by_role("button", name="Cancel").first.click()
    page.wait_for_selector("text=cancelled; nothing was kept")
    wait(page, "/step \\d+ of 100000/.test(document.querySelector('#jobs li:last-child').innerText)")
    page.get_by_role("button", name="Cancel").click()
    wait(page, "document.querySelectorAll('#jobs [data-state=cancelled]').length === 2")
    assert len(load_renders(live.out)) == before


def test_a_wrong_option_is_said_beside_the_form(page: Page, live: Live) -> None:
    page.goto(f"{live.address}0/unit/0/4.html")
    page.get_by_label("Options").fill("nothing=1")
    page.get_by_role("button", name="Render", exact=True).click()
    wait(page, "document.querySelector('#render-form [role=status]').textContent")
    assert "has no option 'nothing'" in page.locator("#render-form [role=status]").inner_text()
    assert live.messages.pop().startswith("error: Failed to load resource")  # the status 400
    assert not live.messages


def test_without_the_token_nothing_can_be_changed(browser: Browser, live: Live) -> None:
    context = browser.new_context()
    page = context.new_page()
    for path, button in (
        ("query.html", "Run"),
        ("photograph.html", "Show what it drives"),
        ("unit/0/1.html", "Render"),
    ):
        page.goto(f"{live.address}0/{path}")
        assert page.get_by_role("button", name=button, exact=True).is_disabled()
        assert page.get_by_text("open the address that maxact serve has printed").is_visible()
    context.close()


def test_a_name_that_was_made_to_lead_here_shows_nothing(browser: Browser, live: Live) -> None:
    context = browser.new_context()
    page = context.new_page()
    port = live.address.rstrip("/").rpartition(":")[2]
    answer = page.goto(f"http://evil.example:{port}/0/index.html")
    assert answer is not None
    assert answer.status == 403
    assert "not reached under that name" in page.content()
    context.close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_a_page_of_another_site_reaches_nothing(browser: Browser, live: Live, tmp_path: Path) -> None:
    """Even one of the same machine, in the browser of somebody who has the token."""
    target = f"{live.address}0/query.html"
    (tmp_path / "index.html").write_text(
        f'<form method="post" action="{target}"><input name="sql" value="SELECT 1"><button>Go</button></form>'
        f'<img id="image" src="{live.address}0/photographs/0.webp">'
        f'<iframe src="{live.address}0/index.html"></iframe>'
        f'<script src="{live.address}0/data/search.js"></script>'
    )
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{live.address}?token={live.token}")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        assert page.evaluate("document.getElementById('image').naturalWidth") == 0
        read = page.evaluate(
            "address => fetch(address, { method: 'POST', credentials: 'include', body: 'sql=SELECT+1' })"
            ".then(answer => answer.status, error => 'refused')",
            target,
        )
        assert read == "refused"
        assert all("layers" not in frame.content() for frame in page.frames[1:])
        with page.expect_navigation():
            page.get_by_role("button", name="Go").click()
        assert "pages of other sites are not answered" in page.content()
        server.shutdown()
        thread.join()
    context.close()


def test_hostile_names_are_text(page: Page, live: Live) -> None:
    for path in (
        "1/index.html",
        "1/layer/1.html",
        "1/unit/1/3.html",
        *(f"1/{label_page(name)}" for name in HOSTILE),
    ):
        page.goto(live.address + path)
        assert not page.locator("main script, main h1 b, [onerror]").count()
    page.goto(f"{live.address}1/query.html")
    page.locator("textarea").fill(
        "SELECT layer, label, any_value(image_id) AS image_id FROM patches GROUP BY ALL"
    )
    page.get_by_role("button", name="Run").click()
    page.wait_for_selector("#rows")
    assert not page.locator("main script, main b, [onerror]").count()
    assert page.get_by_text(LAYER).count()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(page: Page, live: Live, tmp_path: Path, scheme: str) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed; run `npm ci` in viz/atlas/web")
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    (tmp_path / "own.png").write_bytes(picture(3, side=40))
    for path in ("", *PAGES, "0/nothing.html"):
        page.goto(live.address + path)
        if path == "0/query.html":
            page.locator("textarea").fill("SELECT layer, unit, max FROM units")
            page.get_by_role("button", name="Run").click()
            page.wait_for_selector("#rows")
        if path == "0/photograph.html":
            page.locator("input[type=file]").set_input_files(tmp_path / "own.png")
            page.wait_for_selector(".driven a")
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'], preload: false })")
        serious = [
            (rule["id"], rule["nodes"][0]["html"][:200], rule["nodes"][0]["failureSummary"][:200])
            for rule in found["violations"]
            if rule["impact"] in ("serious", "critical")
        ]
        assert not serious, path
    assert all(message.startswith("error: Failed to load resource") for message in live.messages)  # the 404
    live.messages.clear()


@pytest.mark.parametrize("width", [390, 800, 1440])
def test_nothing_is_cut_off(page: Page, live: Live, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for path in ("", *PAGES, "1/unit/1/3.html", "1/query.html?query=unit_card"):
        page.goto(live.address + path)
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over == 0, path
