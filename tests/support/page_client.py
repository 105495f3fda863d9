"""Clients of the report's page, and what they read of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

from litestar import Litestar
from litestar.testing import TestClient

from streams.report.access.callers import Caller
from tests.support.page_world import Engine, Session, application_for

Client = TestClient[Litestar]
SignIn = Callable[[Caller], Client]
ADDRESS = "http://report.local"


def client_of(engine: Engine, caller: Caller, session: Session | None = None) -> Client:
    """A client of somebody who has signed in."""
    return TestClient(application_for(engine, caller, session), base_url=ADDRESS)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def read(html: str) -> tuple[str, list[tuple[str, dict[str, str | None]]]]:
    """What a page says, with single blanks, and its tags."""
    parser = _Text()
    parser.feed(html)
    return " ".join(" ".join(parser.parts).split()), parser.tags


def form_of(html: str, action: str) -> dict[str, str]:
    """The hidden fields of the form with an action."""
    form = re.search(rf'<form method="post" action="{re.escape(action)}"[^>]*>(.*?)</form>', html, re.DOTALL)
    assert form is not None
    return dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form[1]))
