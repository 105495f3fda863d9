"""The application around API and page: whom it counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient

from streams.report.access.callers import AccessRole, Caller
from streams.report.access.middleware import Identification
from streams.report.access.sessions import Session, Sessions
from streams.report.access.sign_out import sign_out_router
from streams.report.access.site import Site
from streams.report.web.application import make_application
from tests.support.report_access import Clock, change_by_api, me, open_page

CALLER = Caller("iss reader", "Rita Reader", AccessRole.TENANT_READER, "contoso")
MOST = 3


@pytest.fixture
def sessions() -> Sessions:
    return Sessions(b"s" * 32, Clock().ms)


@pytest.fixture
def client(sessions: Sessions) -> Iterator[TestClient[Any]]:
    """A client of an application that takes few requests, as a browser on this machine."""
    site = Site("")
    identify = Identification(None, sessions, site, Clock())
    handlers: list[Any] = [me, change_by_api, open_page, sign_out_router(sessions, site)]
    application = make_application(handlers, identify, {}, requests_a_minute=MOST)
    with TestClient(application, base_url="http://127.0.0.1", raise_server_exceptions=False) as opened:
        yield opened


def brought(sessions: Sessions, session: Session) -> dict[str, str]:
    return {"Cookie": f"tes-session={sessions.seal(session)}"}


def test_strangers_keep_nobody_from_signing_in_or_out(client: TestClient[Any], sessions: Sessions) -> None:
    for _ in range(MOST + 2):  # all from one address, as behind a proxy
        assert client.get("/open").status_code == 200
        assert client.get("/sign-out").status_code == 200
        assert client.post("/sign-out", follow_redirects=False).status_code == 303
    session = sessions.begin(CALLER)
    found = [client.get("/v1/me", headers=brought(sessions, session)).status_code for _ in range(MOST + 1)]
    assert found == [200] * MOST + [429]
    sent = brought(sessions, session) | {"X-CSRF-Token": session.csrf_token}
    assert client.post("/sign-out", headers=sent, follow_redirects=False).status_code == 303
    assert client.get("/v1/me", headers=brought(sessions, session)).status_code == 401
