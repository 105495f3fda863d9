"""A real browser, Debian's chromium, in front of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from streams.report.access.callers import Caller
from streams.report.store.opening import open_database
from streams.settings.report import ReportSettings
from tests.support.browser import browser
from tests.support.notice_history import made_ledger
from tests.support.page_site import Open, serving
from tests.support.page_world import ADMIN, OPERATOR, Engine, fill

__all__ = ["browser"]


@pytest.fixture(scope="session")
def site_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine behind the site."""
    settings = ReportSettings(directory=str(tmp_path_factory.mktemp("site")))
    opened, ledger = open_database(settings), made_ledger(settings)
    opened.migrate()
    fill(opened)
    yield Engine(opened, ledger=ledger)
    opened.close()
    ledger.close()


@pytest.fixture(scope="session")
def addresses(site_engine: Engine) -> Iterator[Mapping[Caller, str]]:
    """Where each caller finds the page."""
    with serving(site_engine, ADMIN, OPERATOR) as found:
        yield found


@pytest.fixture
def open_page(browser: Browser, addresses: Mapping[Caller, str]) -> Iterator[Open]:
    """Opens a page of somebody; a complaint of the browser fails the test, unless what is loaded may fail.

    `finished` is handed every request that is done.
    """
    contexts, complaints = [], list[str]()

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(message.text)

    def opened(
        path: str,
        caller: Caller = ADMIN,
        width: int = 1280,
        finished: Callable[[Request], None] | None = None,
        may_fail: bool = False,
        **options: Any,
    ) -> Page:
        given = {"viewport": {"width": width, "height": 800}, "timezone_id": "Europe/Madrid", "locale": "en-GB"}
        context = browser.new_context(**{**given, **options})
        contexts.append(context)
        page = context.new_page()
        if not may_fail:
            page.on("console", note)
        if finished is not None:
            page.on("requestfinished", finished)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(addresses[caller] + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
