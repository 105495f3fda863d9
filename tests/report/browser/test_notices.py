"""Notices in a real browser: dialogs, a test whose outcome comes by itself, no script at all, and links of messages."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from streams.database.database import ALL_TENANTS
from streams.notices.destinations import list_destinations, unsubscribe_token
from streams.notices.facts import link_key
from streams.notices.model import Destination
from streams.notices.paths import unsubscribe_path
from streams.notices.tables import MESSAGE
from tests.support.notice_history import CONTACT
from tests.support.page_looks import WIDTHS, flaws, focused, shot, sideways, tab_to
from tests.support.page_site import Open
from tests.support.page_world import NOW, Engine


def destinations(engine: Engine) -> dict[str, Destination]:
    with engine.ledger.reading("contoso") as connection:
        return {one.name: one for one in list_destinations(connection, "contoso")}


def add(page: Page, name: str, kind: str, address: str) -> None:
    """Fill the form for a destination."""
    page.get_by_label("Kind").select_option(label=kind)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Address").fill(address)
    page.get_by_label("Time zone").fill("Europe/Madrid")
    page.get_by_role("button", name="Add and ask").click()


def test_a_destination_is_added_in_a_dialog(open_page: Open, site_engine: Engine) -> None:
    page = open_page("/notices")
    tab_to(page, "Add a destination…")
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    expect(dialog.get_by_role("heading", name="Add a destination")).to_be_visible()
    shot(page, "destination-dialog")
    assert flaws(page) == []
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    assert focused(page)["text"] == "Add a destination…"
    page.keyboard.press("Enter")
    add(page, "Pager", "webhook", "https://pager.contoso.example/hook")
    made = destinations(site_engine)["Pager"]
    expect(page.locator("pre")).to_have_text(made.secret)
    shot(page, "secret")
    assert flaws(page) == []
    assert made.zone == "Europe/Madrid"


def test_the_outcome_of_a_test_comes_by_itself(open_page: Open, site_engine: Engine) -> None:
    page = open_page("/notices")
    page.get_by_role("button", name=re.compile("Send a test.*Mail admins")).click()
    expect(page.locator("#test")).to_contain_text("Test: on its way")
    page.evaluate("window.isSamePage = true")
    ended = {"state": "SENT", "attempts": 1, "ended_at": NOW, "last_outcome": "DELIVERED", "last_why": "2.0.0 Ok"}
    with site_engine.ledger.writing() as connection:
        connection.execute(MESSAGE.update().where(MESSAGE.c.form == "TEST").values(**ended))
    expect(page.locator("#test")).to_contain_text("Test: delivered")
    assert page.evaluate("window.isSamePage") is True
    shot(page, "test-outcome")
    assert flaws(page) == []


def test_a_removal_is_confirmed_in_a_dialog(open_page: Open, site_engine: Engine) -> None:
    page = open_page("/notices/destinations/new")
    add(page, "Short lived", "mail", "short@contoso.example")
    expect(page.locator(".outcome")).to_contain_text("The destination was made.")
    page.get_by_role("link", name="Remove…").click()
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("Remove Short lived")
    shot(page, "removal-dialog")
    assert flaws(page) == []
    dialog.get_by_role("link", name="Keep it").click()
    expect(page.locator("dialog[open]")).to_have_count(0)
    page.get_by_role("link", name="Remove…").click()
    page.locator("dialog[open]").get_by_role("button", name="Remove it for good").click()
    expect(page.locator(".outcome")).to_contain_text("The destination was removed.")
    assert "Short lived" not in destinations(site_engine)


def test_who_is_told_and_when_is_said_without_javascript(open_page: Open, site_engine: Engine) -> None:
    page = open_page("/notices", java_script_enabled=False, may_fail=True)
    page.get_by_role("link", name="Add a destination…").click()
    add(page, "No script", "mail", "noscript@contoso.example")
    expect(page.get_by_text("The destination was made.")).to_be_visible()
    page.get_by_role("link", name="Subscribe it…").click()
    page.get_by_label("How urgent").select_option(label="only what is critical")
    page.get_by_label("From").fill("22:00")
    page.get_by_role("button", name="Subscribe").click()
    expect(page.get_by_text("Give both times, or none for no quiet hours.")).to_be_visible()
    page.get_by_label("Until").fill("06:00")
    page.get_by_role("button", name="Subscribe").click()
    expect(page.get_by_text("The subscription was made. It begins now.")).to_be_visible()
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="End… No script"))
    assert "from 22:00 to 06:00 only what is critical (Europe/Madrid)" in " ".join(row.inner_text().split())
    row.get_by_role("link", name="End… No script").click()
    page.get_by_role("button", name="End it").click()
    expect(page.get_by_text("The subscription was ended.")).to_be_visible()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("code", ["en", "es", "de"])
def test_a_link_of_a_message_can_be_read_by_everybody(
    open_page: Open, site_engine: Engine, code: str, width: int
) -> None:
    with site_engine.ledger.reading(ALL_TENANTS) as connection:
        path = unsubscribe_path(unsubscribe_token(link_key(connection), CONTACT))
    page = open_page(path, width=width, locale=code, color_scheme="dark" if width == WIDTHS[0] else "light")
    shot(page, "link", width, code)
    assert page.evaluate("document.documentElement.lang") == code
    assert sideways(page) == 0
    assert flaws(page) == []
