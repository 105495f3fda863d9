"""Every page in a real browser: three widths, two themes, three languages, the keyboard alone, without JavaScript."""

from __future__ import annotations

import pytest
from playwright.sync_api import Request, expect

from streams.report.access.callers import Caller
from tests.support.page_looks import WIDTHS, flaws, focused, shot, sideways, tab_to
from tests.support.page_site import Open
from tests.support.page_world import ADMIN, OPERATOR, Engine

PAGES: dict[str, tuple[Caller, str]] = {
    "report": (ADMIN, "/"),
    "server": (ADMIN, "/servers/ex03.contoso.com"),
    "mixed": (ADMIN, "/servers/mail.contoso.com"),
    "pauses": (ADMIN, "/pauses"),
    "pause-form": (ADMIN, "/pauses/new?server=ex03.contoso.com"),
    "notices": (ADMIN, "/notices"),
    "destination": (ADMIN, "/notices/destinations/d-hook"),
    "destination-form": (ADMIN, "/notices/destinations/new"),
    "subscription-form": (ADMIN, "/notices/subscriptions/s-hook"),
    "deliveries": (ADMIN, "/notices/deliveries?notification=n59"),
    "coming": (ADMIN, "/coming"),
    "operator": (OPERATOR, "/operator?q=secret"),
    "operator-form": (OPERATOR, "/operator/server?tenant=contoso&server=ex03.contoso.com"),
}
MOST_BYTES = 100_000


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_everybody_can_read_it(open_page: Open, name: str, width: int, theme: str) -> None:
    caller, path = PAGES[name]
    page = open_page(path, caller, width, color_scheme=theme)
    shot(page, name, width, theme)
    assert sideways(page) == 0
    assert flaws(page) == []


@pytest.mark.parametrize("code", ["es", "de"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_in_every_language(open_page: Open, name: str, width: int, code: str) -> None:
    caller, path = PAGES[name]
    page = open_page(path, caller, width, locale=code)
    shot(page, name, width, code)
    assert page.evaluate("document.documentElement.lang") == code
    assert sideways(page) == 0


def test_the_first_screen_has_fourteen_rows(open_page: Open) -> None:
    page = open_page("/")
    rows = page.locator(".servers tbody tr")
    bottoms: list[float] = rows.evaluate_all("(rows) => rows.map((row) => row.getBoundingClientRect().bottom)")
    assert sum(bottom <= 800 for bottom in bottoms) >= 14


def test_the_first_page_is_light(open_page: Open) -> None:
    requests: list[Request] = []

    def note(request: Request) -> None:  # Playwright marks its listeners; a list's method cannot be marked
        requests.append(request)

    open_page("/", finished=note).wait_for_load_state("networkidle")
    weights = {request.url.rpartition("/")[2]: request.sizes()["responseBodySize"] for request in requests}
    assert len(weights) >= 4
    assert sum(weights.values()) < MOST_BYTES, weights


def test_a_reader_sees_its_own_time_beside_utc(open_page: Open) -> None:
    page = open_page("/")
    expect(page.locator(".next time").nth(1)).to_have_text("29 Nov 2026, 09:00 UTC (10:00 in Madrid)")
    page = open_page("/", timezone_id="Pacific/Auckland")
    expect(page.locator(".next time").nth(1)).to_have_text("29 Nov 2026, 09:00 UTC (22:00 in Auckland)")
    page = open_page("/", timezone_id="UTC")
    expect(page.locator(".next time").nth(1)).to_have_text("29 Nov 2026, 09:00 UTC")


def test_filters_and_search_change_the_table_in_place(open_page: Open) -> None:
    page = open_page("/")
    page.evaluate("window.isSamePage = true")
    page.locator("#filter-mixed").click()
    expect(page.locator(".servers tbody tr")).to_have_count(1)
    assert page.url.endswith("/?show=mixed")
    page.locator("#filter-all").click()
    expect(page.locator(".servers tbody tr")).to_have_count(17)
    page.locator("#q").press_sequentially("ex0")
    expect(page.locator(".servers tbody tr")).to_have_count(4)
    expect(page.locator("#q")).to_be_focused()
    assert "q=ex0" in page.url
    assert page.evaluate("window.isSamePage") is True
    page.reload()
    expect(page.locator(".servers tbody tr")).to_have_count(4)


def test_going_back_shows_what_was_before(open_page: Open) -> None:
    page = open_page("/")
    page.locator("#filter-mixed").click()
    expect(page.locator(".servers tbody tr")).to_have_count(1)
    page.go_back()
    expect(page.locator(".servers tbody tr")).to_have_count(17)


def test_a_chart_is_read_by_arrow_keys_and_by_pointing(open_page: Open) -> None:
    page = open_page("/")
    chart = page.locator("svg[data-chart]").first
    reading = page.locator("[data-reading]").first
    chart.focus()
    page.keyboard.press("Home")
    expect(reading).to_have_text("30 Aug: 1 out of date")
    page.keyboard.press("ArrowRight")
    expect(reading).to_have_text("31 Aug: 1 out of date")
    page.keyboard.press("End")
    expect(reading).to_contain_text("27 Dec: ")
    chart.hover(position={"x": 40, "y": 60})
    expect(reading).to_contain_text("Sept: 1 out of date")


def test_the_keyboard_alone_is_enough(open_page: Open) -> None:
    page = open_page("/")
    page.keyboard.press("Tab")
    assert focused(page)["text"] == "Skip to the content"
    page.keyboard.press("Enter")
    assert focused(page)["id"] == "main"
    tab_to(page, "several machines")
    page.keyboard.press("Enter")
    expect(page.locator(".servers tbody tr")).to_have_count(1)
    assert focused(page)["id"] == "filter-mixed"
    tab_to(page, "mail.contoso.com")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("mail.contoso.com")
    tab_to(page, "Pause this server…")
    page.keyboard.press("Enter")
    expect(page.locator("dialog[open]")).to_be_visible()
    for _ in range(12):
        page.keyboard.press("Tab")
        assert focused(page)["dialog"] or focused(page)["tag"] == "BODY"
    shot(page, "pause-dialog")
    assert flaws(page) == []
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    assert focused(page)["text"] == "Pause this server…"


def test_a_pause_is_confirmed_in_a_dialog_and_asked_for_once(open_page: Open, site_engine: Engine) -> None:
    before = len(site_engine.submitted)
    page = open_page("/servers/ex03.contoso.com")
    page.get_by_role("link", name="Pause this server…").click()
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("It costs 14 days of 2026, which then has 69 left.")
    dialog.get_by_label("Days").fill("7")
    dialog.get_by_role("button", name="Show the dates that follow").click()
    expect(dialog).to_contain_text("It costs 7 days of 2026, which then has 76 left.")
    expect(dialog).to_contain_text("6 Dec 2026, 09:00 UTC (10:00 in Madrid)")
    dialog.get_by_role("button", name="Pause for 7 days").click()
    expect(page.locator(".outcome")).to_contain_text("Accepted; 76 days of pause left.")
    page.reload()
    expect(page.locator(".outcome")).to_contain_text("Accepted; 76 days of pause left.")
    assert len(site_engine.submitted) == before + 1
    assert site_engine.submitted[-1][2]["days"] == 7


def test_a_dialog_that_cannot_be_shown_becomes_a_page(open_page: Open) -> None:
    page = open_page("/servers/ex03.contoso.com", may_fail=True)
    button = page.get_by_role("link", name="Pause this server…")
    button.evaluate("(one) => one.setAttribute('hx-get', '/pauses/new?server=gone')")
    with page.expect_navigation(url="**/pauses/new?server=gone"):
        button.click()
    expect(page.locator("h1")).to_have_text("There is nothing of this name here.")


def test_everything_can_be_read_and_asked_for_without_javascript(open_page: Open, site_engine: Engine) -> None:
    page = open_page("/", java_script_enabled=False)
    assert "6 of 17 servers are out of date." in page.content()
    page.locator("#filter-mixed").click()
    expect(page.locator(".servers tbody tr")).to_have_count(1)
    page.locator(".servers tbody a").click()
    page.get_by_role("link", name="Pause this server…").click()
    page.get_by_label("Days").fill("3")
    page.get_by_role("button", name="Show the dates that follow").click()
    page.get_by_role("button", name="Pause for 3 days").click()
    expect(page.get_by_text("Accepted; 76 days of pause left.")).to_be_visible()
    assert site_engine.submitted[-1][2]["server"] == "mail.contoso.com"


def test_an_auditor_prints_without_what_paper_cannot_do(open_page: Open) -> None:
    page = open_page("/servers/ex03.contoso.com")
    page.emulate_media(media="print")
    shot(page, "server-print")
    expect(page.get_by_role("link", name="Pause this server…")).to_be_hidden()
    expect(page.locator(".top nav")).to_be_hidden()
    expect(page.locator(".timeline")).to_be_visible()
