"""A study in a browser, opened from disk: from the first screen to the saved answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.truth.people import read_answers
from tests.fixtures.browser import open_browser, why_not
from tests.fixtures.study import build_studied_index, study_of, write_study
from tests.fixtures.tables import edit_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

AXE = Path(__file__).parents[3] / "viz/atlas/web/node_modules/axe-core/axe.min.js"

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a study of three units in three conditions."""
    folder = tmp_path_factory.mktemp("study")
    out = build_studied_index(folder)
    edit_run(out, lambda run: run["network"].update(name=HOSTILE))
    return write_study(out, folder / "page", references=("synthetic", "real", "none"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if reason := why_not():
        pytest.skip(reason)
    with open_browser() as opened:
        yield opened


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A context in which no page may complain, or ask for anything."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    wrong: list[str] = []
    context.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    context.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    context.on(
        "request",
        lambda request: (
            None if request.url.startswith(("file:", "data:", "blob:")) else wrong.append(request.url)
        ),
    )
    yield context
    context.close()
    assert not wrong


@pytest.fixture
def page(context: BrowserContext, file: Path) -> Page:
    page = context.new_page()
    page.goto(file.resolve().as_uri())
    return page


def start(page: Page, participant: str) -> None:
    page.get_by_label("Your number or code").fill(participant)
    page.get_by_role("button", name="Start").click()


def shown(page: Page) -> None:
    """Wait until the trial's pictures are there."""
    # Not a function in the page, which the page's policy does not let Playwright evaluate.
    page.locator("#trial:not(.loading)").wait_for(state="attached")


def where(page: Page) -> str:
    return page.locator("#where").inner_text()


def trials_of(study: dict[str, Any], order: int) -> list[list[Any]]:
    return [*study["practice"], *study["orders"][order]]


def test_from_the_first_screen_to_scores(page: Page, file: Path, tmp_path: Path) -> None:
    study = study_of(file)
    start(page, "51")
    trials = trials_of(study, 51 % len(study["orders"]))
    for number, (kind, place, condition, _, _, at_right) in enumerate(trials):
        shown(page)
        assert page.locator("#progress").evaluate("each => each.value") == number
        references = len(study["units"][place]["references"][condition])
        assert page.locator("#references img").count() == references
        side = "right" if at_right else "left"
        if number % 2:
            page.keyboard.press("ArrowRight" if at_right else "ArrowLeft")
            page.keyboard.press("3")
        else:
            page.locator(f"#{side}").click()
            page.get_by_role("button", name="Fairly sure").click()
        if kind == "practice":
            assert page.locator("#feedback").inner_text() == "Right."
            page.get_by_role("button", name="Continue").click()
    assert page.locator("h1:visible").inner_text() == "Thank you"
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save the answers").click()
    name = waiting.value.suggested_filename
    assert name == f"answers-{study['about']['id'][:8]}-51.json"
    waiting.value.save_as(tmp_path / name)
    (person,) = read_answers([tmp_path / name])
    assert person.name == "51"
    assert person.study == study["about"]
    assert [answer.kind for answer in person.answers] == [trial[0] for trial in trials]
    assert all(answer.right and 0 < answer.seconds < 60 for answer in person.answers)
    assert [answer.confidence for answer in person.answers] == [3 if n % 2 else 2 for n in range(len(trials))]
    saved = json.loads((tmp_path / name).read_text())
    for answer, (kind, place, _, high, low, at_right) in zip(saved["answers"], trials, strict=True):
        unit = study["units"][place]
        asked = len(unit["asked"]) // 2
        pair = (
            unit["shown"][high] if kind == "catch" else unit["asked"][high][1],
            unit["asked"][asked + low][1],
        )
        assert (answer["left"], answer["right"]) == (pair[::-1] if at_right else pair)
    page.get_by_role("button", name="Next participant").click()
    assert page.get_by_role("button", name="Start").is_visible()


def test_a_reload_goes_on_where_it_stopped(page: Page, file: Path) -> None:
    start(page, "anna <b>")
    for _ in range(3):
        shown(page)
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("1")
        page.get_by_role("button", name="Continue").click()
    shown(page)
    first = where(page)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("2")
    shown(page)
    assert first.startswith("Trial 1 of")
    seen = (where(page), page.locator("#left").get_attribute("src"))
    page.reload()
    assert "Participant anna <b> has answered 4 of" in page.locator("#resume-text").inner_text()
    page.get_by_role("button", name="Continue").click()
    shown(page)
    assert (where(page), page.locator("#left").get_attribute("src")) == seen
    page.reload()
    page.get_by_role("button", name="Delete these answers").click()
    assert page.get_by_role("button", name="Start").is_visible()
    page.reload()
    assert page.get_by_role("button", name="Start").is_visible()


def test_nothing_is_answered_by_accident(page: Page) -> None:
    start(page, "")
    shown(page)
    page.keyboard.press("2")
    assert where(page).startswith("Practice 1 of")
    assert page.get_by_role("button", name="Sure", exact=False).last.is_disabled()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator("input[value=right]").is_checked()
    page.keyboard.press("Control+1")
    assert where(page).startswith("Practice 1 of")
    page.keyboard.press("1")
    page.keyboard.press("3")
    page.keyboard.press("ArrowLeft")
    assert page.locator("input[value=right]").is_checked()
    stored = page.evaluate("JSON.parse(Object.values(localStorage)[0])")
    assert len(stored["answers"]) == 1
    assert re.fullmatch(r"random-[0-9a-f]{16}", stored["participant"])


def test_without_storage_the_page_says_so(page: Page, file: Path) -> None:
    page.add_init_script("Storage.prototype.setItem = () => { throw new Error('full'); }")
    page.goto(file.resolve().as_uri())
    start(page, "7")
    shown(page)
    assert where(page).startswith("Practice 1 of")
    assert page.locator("#no-storage").is_visible()


@pytest.mark.parametrize("width", [390, 1280])
def test_accessibility(context: BrowserContext, file: Path, width: int) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(file.resolve().as_uri())
    for step in range(3):
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over == 0
        if AXE.exists():
            page.evaluate(AXE.read_text(encoding="utf-8"))
            found = page.evaluate("axe.run(document, { resultTypes: ['violations'], preload: false })")
            assert not [
                (rule["id"], rule["nodes"][0]["html"][:200], rule["nodes"][0]["failureSummary"][:200])
                for rule in found["violations"]
                if rule["impact"] in ("serious", "critical")
            ]
        if step == 0:
            start(page, "4")
            shown(page)
        else:
            page.keyboard.press("ArrowLeft")
