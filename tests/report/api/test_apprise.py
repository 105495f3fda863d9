"""Apprise reaches whatever an address names: operators have it, and tenants neither use nor see it."""

from __future__ import annotations

from typing import Any

import pytest
from litestar.testing import TestClient

from streams.database.database import Database
from streams.domain.validation import MalformedError
from streams.notices.destinations import create_destination
from streams.notices.model import DestinationKind, DestinationState
from streams.notices.tables import DESTINATION
from tests.support.notices import START, rows_of
from tests.support.report_api import bearer

Client = TestClient[Any]
SECRET = "tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2"
WANTED = {"kind": "APPRISE", "name": "Pager", "address": f"ntfys://{SECRET}@ntfy.operator.example/alarms"}


def ask(client: Client, method: str, path: str, who: str, status: int, **options: Any) -> Any:
    answer = client.request(method, f"/v1{path}", headers=bearer(who), **options)
    assert answer.status_code == status, answer.text
    assert SECRET not in answer.text
    return answer.json() if answer.content else None


def made(client: Client) -> str:
    found = ask(client, "POST", "/destinations", "operator", 201, json=WANTED)
    assert found["secret"] is None
    shown = found["destination"]
    assert (shown["tenant_id"], shown["origin"], shown["address"]) == ("*", "OPERATOR", "ntfys://…")
    return str(shown["destination_id"])


def test_an_operator_has_it_and_nobody_sees_its_address(client: Client, told: Database) -> None:
    key = made(client)
    (listed,) = [
        one for one in ask(client, "GET", "/destinations", "operator", 200)["items"] if one["destination_id"] == key
    ]
    assert (listed["kind"], listed["state"], listed["address"]) == ("APPRISE", "UNCONFIRMED", "ntfys://…")
    ask(client, "PATCH", f"/destinations/{key}", "operator", 200, json={"name": "Night pager"})
    ask(client, "POST", f"/destinations/{key}/confirmation", "operator", 202)
    ask(client, "POST", "/destinations", "operator", 409, json=WANTED)
    with told.writing() as connection:
        connection.execute(
            DESTINATION.update().where(DESTINATION.c.destination_id == key).values(state=DestinationState.ACTIVE)
        )
    ask(client, "POST", f"/destinations/{key}/test", "operator", 202)
    ask(client, "POST", f"/destinations/{key}/secret", "operator", 409)
    ask(client, "POST", "/subscriptions", "operator", 201, json={"destination_id": key})
    ask(client, "DELETE", f"/destinations/{key}", "operator", 204)


@pytest.mark.parametrize(
    ("who", "query"), [("admin", ""), ("admin", "?tenant=contoso"), ("operator", "?tenant=contoso")]
)
def test_no_tenant_gets_one_by_whomever(client: Client, told: Database, who: str, query: str) -> None:
    refused = ask(client, "POST", f"/destinations{query}", who, 400, json=WANTED)
    assert refused["detail"] == "kind: 'APPRISE': must be one of MAIL, WEBHOOK, SLACK, TEAMS, DISCORD"
    assert not [row for row in rows_of(told, DESTINATION) if row["kind"] == "APPRISE"]


def test_the_ledger_makes_none_for_a_tenant_either(told: Database) -> None:
    with told.writing() as connection, pytest.raises(MalformedError, match="kind: 'APPRISE'"):
        create_destination(
            connection,
            tenant="contoso",
            kind=DestinationKind.APPRISE,
            name="x",
            address="json://h",
            now=START,
            created_by="x",
        )


def test_no_operation_shows_a_tenant_an_operator_s(client: Client) -> None:
    key = made(client)
    for who in ("reader", "admin"):
        listed = ask(client, "GET", "/destinations", who, 200)["items"]
        assert key not in [one["destination_id"] for one in listed]
        assert "APPRISE" not in str(ask(client, "GET", "/deliveries", who, 200))
        assert ask(client, "GET", f"/deliveries?destination_id={key}", who, 200)["items"] == []
        ask(client, "GET", f"/destinations/{key}", who, 404)
        ask(client, "GET", f"/destinations/{key}/messages/msg_x", who, 404)
    for method, path in (
        ("DELETE", ""),
        ("POST", "/secret"),
        ("POST", "/unpark"),
        ("POST", "/confirmation"),
        ("POST", "/test"),
    ):
        ask(client, method, f"/destinations/{key}{path}", "admin", 404)
    ask(client, "PATCH", f"/destinations/{key}", "admin", 404, json={"name": "x"})
    ask(client, "POST", "/subscriptions", "admin", 404, json={"destination_id": key})


@pytest.mark.parametrize(
    "address",
    [
        "no address",
        "mailto",
        "ntfy://",
        f"ntfy://{SECRET} x",
        f"ntfy://{SECRET}\nx",
        f"NTFY://{SECRET}",
        "ntfy://ü",
        "",
    ],
)
def test_what_is_no_address_is_refused_without_saying_it(client: Client, address: str) -> None:
    refused = ask(client, "POST", "/destinations", "operator", 400, json=WANTED | {"address": address})
    assert "address" in str(refused)
