"""The atlas in a browser: navigation, sorting, filters, search, keys, addresses, accessibility, print."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.viz.atlas.conftest import HOSTILE, LAYER, Site
from viz.atlas.addresses import label_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

AXE = Path(__file__).parents[3] / "viz/atlas/web/node_modules/axe-core/axe.min.js"

FROM_DISK = pytest.mark.parametrize("site", ["file"], indirect=True)
"""For what does not depend on where the pages come from."""

SERIOUS = ("serious", "critical")

PAGES = (
    "index.html",
    "layer/1.html",
    "unit/1/3.html",
    "unit/1/11.html",
    "image/2.html",
    "sql.html",
    "compare/1.html",
)

SHIFT = """
() => new Promise(resolve => {
  let sum = 0;
  new PerformanceObserver(list => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => resolve(sum), 300);
})
"""


def open_layer(page: Page, site: Site, state: str = "") -> None:
    """Open the layer of 12 units, with the state of a view."""
    page.goto(site("layer/1.html") + state)
    page.wait_for_function("document.querySelector('#units').classList.contains('windowed')")
    page.wait_for_function("document.querySelectorAll('select[name=label] option').length > 1")


def units(page: Page) -> list[int]:
    """The units that the layer's page shows, in their order."""
    found = page.evaluate(
        """() => [...document.querySelectorAll("#units > li")]
            .sort((a, b) => a.ariaPosInSet - b.ariaPosInSet).map(item => item.id)"""
    )
    return [int(name.removeprefix("u")) for name in found]


def data_of(site: Site, name: str, call: str) -> dict:
    """The content of a data script."""
    text = (site.folder / "data" / name).read_text(encoding="ascii")
    return json.loads(text.removeprefix(f"{call}(").removesuffix(")\n"))


def test_from_the_front_page_to_a_photograph_and_its_label(page: Page, site: Site) -> None:
    page.goto(site("index.html"))
    assert page.locator("h1").inner_text() == "<b>shapes</b>"
    page.get_by_role("link", name=LAYER, exact=True).click()
    assert page.url == site("layer/1.html")
    page.locator("#u3 a").click()
    assert page.url == site("unit/1/3.html")
    page.locator(".patches a").first.click()
    assert "/image/" in page.url
    page.locator("p a").first.click()
    assert "/label/" in page.url
    page.locator(".photographs a").first.click()
    assert "/image/" in page.url
    page.locator("header .home").click()
    assert page.url == site("index.html")


def test_units_are_sorted_in_both_directions(page: Page, site: Site) -> None:
    open_layer(page, site)
    peaks = data_of(site, "1.js", "atlas")["columns"]["max"]
    page.get_by_label("Sort by").select_option("max")
    assert units(page) == sorted(range(12), key=lambda unit: (-peaks[unit], unit))
    page.get_by_role("button", name="highest first").click()
    assert units(page) == sorted(range(12), key=lambda unit: (peaks[unit], unit))
    page.get_by_label("Sort by").select_option("ratio")
    assert units(page)[:3] == [7, 3, 4]


def test_units_are_filtered_by_statistics_text_and_label(page: Page, site: Site) -> None:
    open_layer(page, site)
    data = data_of(site, "1.js", "atlas")
    page.get_by_label("Filter").fill("ratio>1")
    assert units(page) == [3, 7]
    assert page.get_by_role("status").inner_text() == "2 of 12 units"
    page.get_by_label("Filter").fill("rato>1")
    assert "There is no statistic rato." in page.get_by_role("status").inner_text()
    page.get_by_label("Filter").fill("11")
    assert units(page) == [11]
    page.get_by_label("Filter").fill("")
    number = next(number for number, label in enumerate(data["labels"]) if label == "CON")
    page.get_by_label("Label", exact=True).select_option("CON")
    expected = [unit for unit, found in enumerate(data["labelled"]) if number in found]
    assert 0 < len(expected) < 12
    assert units(page) == expected


def test_the_address_keeps_what_is_shown(page: Page, browser: Browser, site: Site) -> None:
    open_layer(page, site)
    page.get_by_label("Sort by").select_option("std")
    page.get_by_label("Filter").fill("ratio>1 <b>&")
    page.get_by_label("Filter").fill("ratio>1")
    page.get_by_label("Show").select_option("synthetic")
    address, shown = page.url, units(page)
    other = browser.new_page()
    other.goto(address)
    other.wait_for_function("document.querySelector('#units').childElementCount === 2")
    assert units(other) == shown
    assert other.locator("select[name=sort]").input_value() == "std"
    assert other.locator("input[name=find]").input_value() == "ratio>1"
    assert other.evaluate("document.body.dataset.show") == "synthetic"
    other.close()
    page.locator("#u3 a").click()
    page.go_back()
    page.wait_for_function("document.querySelector('#units').childElementCount === 2")
    assert page.url == address


def test_the_address_of_a_unit_shows_it(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 390, "height": 600})
    open_layer(page, site, "#u9")
    page.wait_for_function("document.querySelector('#u9.target')")
    box = page.locator("#u9").bounding_box()
    assert box is not None
    assert 0 < box["y"] < 600
    page.evaluate("location.hash = '#find=ratio%3E1'")
    page.wait_for_function("document.querySelector('#units').childElementCount === 2")


def test_search_finds_units_and_labels(page: Page, site: Site) -> None:
    page.goto(site("unit/1/3.html"))
    page.keyboard.press("/")
    page.keyboard.type("alert(2) 5")
    page.wait_for_selector("#hits a")
    assert page.locator("#hits a .name").first.inner_text() == f"{LAYER} 5"
    page.keyboard.press("Enter")
    page.wait_for_url(site("unit/1/5.html"))
    page.locator("#search").fill("etc passwd")
    page.wait_for_selector("#hits a")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_url(site(label_page("../../../etc/passwd")))
    page.locator("#search").fill("nothing has this name")
    page.wait_for_selector("#hits .none")
    assert page.locator("#hits").inner_text() == "Nothing found"
    page.keyboard.press("Escape")
    assert page.locator("#search").input_value() == ""


@FROM_DISK
def test_keys(page: Page, site: Site) -> None:
    page.goto(site("unit/1/3.html"))
    for key, expected in (
        ("j", "unit/1/4.html"),
        ("ArrowRight", "unit/1/5.html"),
        ("k", "unit/1/4.html"),
        ("ArrowLeft", "unit/1/3.html"),
        ("u", "layer/1.html#u3"),
        ("j", "layer/2.html"),
        ("u", "index.html"),
    ):
        page.keyboard.press(key)
        page.wait_for_url(site(expected))
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keys").is_visible()
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog", name="Keys").is_visible()
    open_layer(page, site)
    page.keyboard.press("f")
    page.keyboard.type("j?")
    assert page.locator("input[name=find]").input_value() == "j?"


@FROM_DISK
@pytest.mark.parametrize("way", ["pointer", "focus"])
def test_the_photograph_of_a_patch_is_shown(page: Page, site: Site, way: str) -> None:
    page.goto(site("unit/1/3.html"))
    patch = page.locator(".patches a").nth(1)
    if way == "pointer":
        patch.hover()
    else:
        patch.focus()
    frame = page.locator(".whole .frame")
    frame.wait_for()
    page.wait_for_function("document.querySelector('.whole img').naturalWidth > 0")
    field, picture = frame.locator(".field").bounding_box(), frame.locator("img").bounding_box()
    numbers = list(map(int, str(patch.get_attribute("data-spot")).split()))
    assert field is not None
    assert picture is not None
    scale = picture["width"] / numbers[0]
    assert field["width"] == pytest.approx(numbers[4] * scale, abs=6)  # the stroke is part of the box
    assert field["x"] - picture["x"] == pytest.approx(numbers[2] * scale, abs=4)
    page.keyboard.press("Escape")
    assert not page.locator(".whole").count()


@FROM_DISK
def test_a_tab_goes_through_a_grid_that_is_windowed(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 390, "height": 300})
    open_layer(page, site)
    assert len(units(page)) < 12
    page.locator("#u0 a").focus()
    seen = []
    for _ in range(11):
        page.keyboard.press("Tab")
        page.evaluate("new Promise(requestAnimationFrame)")
        seen.append(page.evaluate("document.activeElement.parentElement.id"))
    assert seen == [f"u{unit}" for unit in range(1, 12)]
    page.evaluate("window.scrollTo(0, 0)")
    page.evaluate("new Promise(requestAnimationFrame)")
    assert page.evaluate("document.activeElement.parentElement.id") == "u11"


@FROM_DISK
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_theme_is_chosen_and_remembered(page: Page, site: Site, scheme: str) -> None:
    def paper() -> str:
        return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    page.emulate_media(color_scheme=scheme)
    page.goto(site("index.html"))
    light, dark = "rgb(255, 255, 255)", "rgb(22, 24, 27)"
    assert paper() == (light if scheme == "light" else dark)
    button = page.get_by_role("button", name="Colours")
    button.click()
    assert paper() == light
    button.click()
    assert paper() == dark
    page.goto(site("unit/1/3.html"))
    assert paper() == dark


@FROM_DISK
@pytest.mark.parametrize("width", [390, 800, 1440])
def test_nothing_is_cut_off_and_nothing_moves(page: Page, site: Site, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for address in (*PAGES, label_page("a" * 300)):
        page.goto(site(address))
        assert page.evaluate(SHIFT) < 0.02, address
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over == 0, address


@pytest.mark.parametrize("scheme", ["light", "dark"])
@FROM_DISK
def test_accessibility(page: Page, site: Site, scheme: str) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed; run `npm ci` in viz/atlas/web")
    page.emulate_media(color_scheme=scheme)
    hover: dict[str, Callable[[], None]] = {
        "unit/1/3.html": lambda: page.locator(".patches a").first.hover(),
        "sql.html": lambda: page.keyboard.press("?"),
    }
    for address in (*PAGES, label_page(HOSTILE[0])):
        page.goto(site(address))
        if address in hover:
            hover[address]()
        page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'], preload: false })")
        serious = [
            (rule["id"], rule["nodes"][0]["html"][:200], rule["nodes"][0]["failureSummary"][:200])
            for rule in found["violations"]
            if rule["impact"] in SERIOUS
        ]
        assert not serious, address


@FROM_DISK
def test_hostile_names_are_text(page: Page, site: Site) -> None:
    for label in HOSTILE:
        page.goto(site(label_page(label)))
        assert not page.locator("main script, main b, [onerror]").count()
        assert page.locator("h1").inner_text()
    open_layer(page, site)
    assert not page.locator("main script, main b, [onerror]").count()
    assert page.title() == f"{LAYER} of <b>shapes</b> · maxact"
    page.locator("#search").fill("onerror")
    page.wait_for_selector("#hits a")
    assert not page.locator("#hits img").count()


@FROM_DISK
def test_units_beside_another_index(page: Page, site: Site) -> None:
    page.goto(site("index.html"))
    page.get_by_role("link", name="Each unit beside its nearest").click()
    page.get_by_role("link", name=LAYER, exact=True).click()
    assert page.url == site("compare/1.html")
    page.wait_for_function("document.querySelector('#units').classList.contains('windowed')")
    # The other index is the same one.
    assert page.locator("#u3 .pair > *").count() == 2
    assert page.locator("#u3 .pair .name").nth(1).inner_text() == f"{LAYER} 3"
    page.get_by_label("Filter").fill("jaccard<1")
    page.wait_for_function("document.querySelector('#units').childElementCount === 0")
    page.get_by_label("Filter").fill("jaccard=1 ratio>1")
    page.wait_for_function("document.querySelector('#units').childElementCount === 2")
    assert units(page) == [3, 7]


@FROM_DISK
def test_everything_is_printed(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 390, "height": 300})
    open_layer(page, site)
    assert len(units(page)) < 12
    page.evaluate(
        """() => window.addEventListener("beforeprint", () => {
            window.printed = [...document.querySelectorAll("#units > li")].map(item => item.id);
        })"""
    )
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    page.emulate_media(media="screen")
    page.pdf()
    assert page.evaluate("window.printed") == [f"u{unit}" for unit in range(12)]
    assert len(units(page)) < 12


@FROM_DISK
def test_pages_can_be_read_without_scripts(browser: Browser, site: Site) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site("layer/1.html"))
    assert page.locator("#units > li").count() == 12
    assert page.locator("#units img").first.is_visible()
    assert not page.locator("#controls").is_visible()
    assert not page.locator("#search").is_visible()
    page.locator("#u3 a").click()
    assert page.locator(".patches a").count() == 9
    context.close()
