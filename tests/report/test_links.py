"""Links of messages over both databases: whatever a forged token names, and that each is fenced to its own tenant."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from litestar.testing import TestClient

from streams.database.database import ALL_TENANTS, Database
from streams.notices.destinations import unsubscribe_token
from streams.notices.facts import link_key
from streams.notices.paths import confirm_path, unsubscribe_path
from streams.notices.tables import DESTINATION
from tests.support.notice_history import MAIL, OWN, fill_ledger
from tests.support.notices import rows_of
from tests.support.page_world import Engine, strangers_application


def forged(text: str) -> str:
    return base64.urlsafe_b64encode(b"x" * 16 + text.encode()).decode().rstrip("=")


@pytest.fixture
def client(database: Database, ledger: Database) -> Any:
    fill_ledger(ledger)
    with TestClient(strangers_application(Engine(database, ledger=ledger)), base_url="https://report.example") as one:
        yield one


@pytest.mark.parametrize(
    "named", ["contoso\nd-mail", "*\nd-operators", "no\0body\nd-mail", "contoso\nd\0", "\n", "é\n\u202e", "*\n*"]
)
def test_a_forged_token_is_answered_alike_whatever_it_names(client: Any, named: str) -> None:
    for path in (confirm_path(forged(named)), unsubscribe_path(forged(named))):
        for answer in (client.get(path), client.post(path)):
            assert answer.status_code == 404
            assert "This link does not work" in answer.text


def test_a_link_ends_what_its_own_destination_is_sent(client: Any, ledger: Database) -> None:
    with ledger.reading(ALL_TENANTS) as connection:
        paths = [unsubscribe_path(unsubscribe_token(link_key(connection), one)) for one in (MAIL, OWN)]
    for path in paths:
        assert client.post(path).status_code == 200
    removed = {row["destination_id"] for row in rows_of(ledger, DESTINATION) if row["state"] == "REMOVED"}
    assert removed == {MAIL.destination_id, OWN.destination_id}
