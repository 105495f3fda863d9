"""Notices through the API: who is told, what and when, and what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

from streams.database.database import ALL_TENANTS, Database
from streams.notices.destinations import MOST_UNCONFIRMED, get_destination
from streams.notices.messages import MOST_TESTS
from streams.notices.model import DestinationState, Form
from streams.notices.opening import open_ledger
from streams.notices.tables import MESSAGE
from streams.settings.report import ReportSettings
from tests.support.notice_history import ASKED, CONTACT, MAIL, NOTICES, OTHERS, OWN, SECRET, TOKEN
from tests.support.notices import rows_of
from tests.support.report_api import ToldEngine, ToldPolicies, application_of, bearer

WANTED = {"kind": "WEBHOOK", "name": "Pager", "address": f"https://pager.contoso.example/{TOKEN}", "zone": "Asia/Tokyo"}
Client = TestClient[Any]


def ask(client: Client, method: str, path: str, who: str = "admin", status: int = 200, **options: Any) -> Any:
    answer = client.request(method, f"/v1{path}", headers=bearer(who), **options)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def ids(answer: Any, name: str = "destination_id") -> list[str]:
    return [one[name] for one in answer["items"]]


def test_everybody_of_a_tenant_sees_its_destinations_and_nobody_their_secrets(client: Client) -> None:
    for who in ("reader", "admin"):
        found = ask(client, "GET", "/destinations", who)
        assert ids(found) == ["d-asked", "d-contact", "d-hook", "d-mail"]
        by_id = {one["destination_id"]: one for one in found["items"]}
        assert by_id["d-mail"]["address"] == "admins@contoso.example"
        assert by_id["d-hook"]["address"] == "https://tickets.contoso.example/…"
        assert (by_id["d-hook"]["state"], by_id["d-hook"]["parked_why"]) == ("PARKED", "410 Gone")
        assert (by_id["d-hook"]["last"]["last_code"], by_id["d-mail"]["last"]["last_outcome"]) == (503, "DELIVERED")
        assert TOKEN not in str(found)
        assert SECRET not in str(found)
        assert ask(client, "GET", "/destinations/d-hook", who) == by_id["d-hook"]


def test_an_operator_has_its_own_destinations_and_those_of_each_tenant(client: Client) -> None:
    assert ids(ask(client, "GET", "/destinations", "operator")) == [OWN.destination_id]
    assert ids(ask(client, "GET", "/subscriptions", "operator"), "subscription_id") == ["s-operators"]
    assert ids(ask(client, "GET", "/destinations?tenant=fabrikam", "operator")) == [OTHERS.destination_id]
    wanted = WANTED | {"kind": "MAIL", "address": "noc2@operator.example"}
    made = ask(client, "POST", "/destinations", "operator", 201, json=wanted)["destination"]
    assert (made["tenant_id"], made["origin"]) == ("*", "OPERATOR")
    assert made["destination_id"] not in ids(ask(client, "GET", "/destinations", "admin"))


def test_a_webhook_s_secret_is_shown_when_it_is_made_and_when_it_is_renewed(client: Client, told: Database) -> None:
    made = ask(client, "POST", "/destinations", status=201, json=WANTED)
    key, shown = made["destination"]["destination_id"], made["destination"]
    assert made["secret"].startswith("whsec_")
    assert (shown["state"], shown["address"], shown["zone"], shown["created_by"]) == (
        "UNCONFIRMED",
        "https://pager.contoso.example/…",
        "Asia/Tokyo",
        "Ada Admin",
    )
    (question,) = [row for row in rows_of(told, MESSAGE) if row["destination_id"] == key]
    assert (question["form"], question["state"]) == (Form.CONFIRMATION, "OPEN")
    renewed = ask(client, "POST", f"/destinations/{key}/secret", status=201)
    assert renewed["secret"] not in ("", made["secret"])
    assert renewed["destination"]["former_secret_until"] is not None
    assert ask(client, "POST", "/destinations/d-mail/secret", status=409)["detail"].endswith("only a webhook has one")
    again = ask(client, "POST", "/destinations", status=409, json=WANTED)
    assert key in again["detail"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "MAIL", "address": "nobody"}, "address: 'nobody': must be an address such as"),
        ({"kind": "MAIL", "address": "a@b.example\r\nBcc: c@d.example"}, "address: 'a@b.example\\r\\nBcc"),
        ({"address": "http://pager.contoso.example/"}, "must begin with https://"),
        ({"address": "https://me:pw@pager.contoso.example/"}, "must have no user or password"),
        ({"address": "ftp://x"}, "address: 'ftp://x': must begin with"),
        ({"name": "two\nlines"}, "name: 'two\\nlines': must be"),
        ({"name": "x" * 101}, "name"),
        ({"zone": "Mars/Olympus"}, "zone: 'Mars/Olympus': must be a time zone"),
        ({"language": "xx"}, "language: 'xx': must be one of en, es, de"),
        ({"kind": "PIGEON"}, "kind"),
    ],
)
def test_a_destination_that_cannot_be_is_refused_with_field_and_value(
    client: Client, changes: dict[str, str], says: str
) -> None:
    assert says in ask(client, "POST", "/destinations", status=400, json=WANTED | changes)["detail"]


def test_a_tenant_asks_so_many_strangers_a_day_and_no_more(client: Client) -> None:
    for number in range(MOST_UNCONFIRMED):
        wanted = {"kind": "MAIL", "name": "x", "address": f"x{number}@contoso.example"}
        ask(client, "POST", "/destinations", status=201, json=wanted)
    refused = ask(client, "POST", "/destinations", status=409, json=WANTED)
    assert "at most 10 a day" in refused["detail"]
    assert "at most 10 a day" in ask(client, "POST", "/destinations/d-asked/confirmation", status=409)["detail"]


def test_a_destination_is_changed_and_removed_by_administrators_only(client: Client, told: Database) -> None:
    for method, path in (("PATCH", "/d-mail"), ("DELETE", "/d-mail"), ("POST", "/d-hook/unpark")):
        body = {"json": {"name": "Mine"}} if method == "PATCH" else {}
        ask(client, method, f"/destinations{path}", "reader", 403, **body)
        ask(client, method, f"/destinations{path}", "stranger", 404, **body)
    changed = ask(client, "PATCH", "/destinations/d-mail", json={"name": "Mine", "zone": "America/Lima"})
    assert (changed["name"], changed["zone"], changed["language"]) == ("Mine", "America/Lima", "de")
    assert "zone: 'x'" in ask(client, "PATCH", "/destinations/d-mail", status=400, json={"zone": "x"})["detail"]
    ask(client, "DELETE", "/destinations/d-mail", status=204)
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/test"), ("POST", "/unpark")):
        ask(client, method, f"/destinations/d-mail{path}", status=404)
    assert ids(ask(client, "GET", "/subscriptions"), "subscription_id") == ["s-hook"]
    with told.reading(ALL_TENANTS) as connection:
        assert get_destination(connection, "contoso", "d-mail").state is DestinationState.REMOVED


def test_a_parked_destination_is_used_again(client: Client) -> None:
    found = ask(client, "POST", "/destinations/d-hook/unpark")
    assert (found["state"], found["parked_at"], found["parked_why"]) == ("ACTIVE", None, None)


def test_a_test_is_sent_once_at_a_time_and_its_outcome_is_shown(client: Client, told: Database) -> None:
    answer = client.post("/v1/destinations/d-mail/test", headers=bearer("admin"))
    assert answer.status_code == 202
    path = answer.headers["location"].removeprefix("/v1")
    shown = ask(client, "GET", path, "reader")
    assert (shown["message"]["form"], shown["message"]["state"], shown["attempts"]) == ("TEST", "OPEN", [])
    assert ask(client, "POST", "/destinations/d-mail/test", status=202) == answer.json()
    assert "is not confirmed" in ask(client, "POST", f"/destinations/{ASKED.destination_id}/test", status=409)["detail"]
    for _ in range(MOST_TESTS - 1):
        with told.writing() as connection:
            connection.execute(MESSAGE.update().where(MESSAGE.c.form == Form.TEST).values(ended_at=1, state="SENT"))
        ask(client, "POST", "/destinations/d-mail/test", status=202)
    with told.writing() as connection:
        connection.execute(MESSAGE.update().where(MESSAGE.c.form == Form.TEST).values(ended_at=1, state="SENT"))
    assert "at most 20 an hour" in ask(client, "POST", "/destinations/d-mail/test", status=409)["detail"]


def test_a_message_has_its_attempts_with_code_and_reason(client: Client) -> None:
    found = ask(client, "GET", "/destinations/d-hook/messages/msg_hook", "reader")
    assert [(one["number"], one["code"], one["why"]) for one in found["attempts"]] == [
        (1, 503, "Service <Unavailable>"),
        (2, 503, "Service <Unavailable>"),
    ]
    # A message is of its destination.
    ask(client, "GET", "/destinations/d-mail/messages/msg_hook", status=404)


def test_subscriptions_are_made_changed_and_ended(client: Client) -> None:
    wanted = {"destination_id": CONTACT.destination_id, "kinds": ["STAGE_UPCOMING"], "quiet_from": 0, "quiet_to": 360}
    made = ask(client, "POST", "/subscriptions", status=201, json=wanted)
    assert (made["kinds"], made["least_severity"], made["daily_at"], made["quiet_to"]) == (
        ["STAGE_UPCOMING"],
        "INFO",
        480,
        360,
    )
    path = f"/subscriptions/{made['subscription_id']}"
    assert ask(client, "GET", path, "reader") == made
    changed = ask(client, "PUT", path, json={"digest": "HOURLY", "servers": "mx*"})
    assert (changed["kinds"], changed["digest"], changed["servers"], changed["quiet_from"]) == (
        None,
        "HOURLY",
        "mx*",
        None,
    )
    assert changed["created_at"] == made["created_at"]
    ask(client, "DELETE", path, "reader", 403)
    ask(client, "DELETE", path, status=204)
    ask(client, "GET", path, status=404)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kinds": ["NEWS"]}, "kinds"),
        ({"kinds": []}, "kinds"),
        ({"least_severity": "LOUD"}, "least_severity"),
        ({"quiet_from": 60}, "quiet_from: '60': needs quiet_to"),
        ({"quiet_from": 60, "quiet_to": 60}, "quiet_to: '60': must differ"),
        ({"quiet_from": 60, "quiet_to": 1440}, "quiet_to"),
        ({"daily_at": -1}, "daily_at"),
        ({"servers": "a\tb"}, "servers: 'a\\tb': must be"),
        ({"digest": "WEEKLY"}, "digest"),
    ],
)
def test_a_subscription_that_cannot_be_is_refused_with_field_and_value(
    client: Client, changes: dict[str, Any], says: str
) -> None:
    wanted = {"destination_id": MAIL.destination_id} | changes
    assert says in ask(client, "POST", "/subscriptions", status=400, json=wanted)["detail"]


def test_nobody_is_told_by_way_of_another_tenant_s_destination(client: Client) -> None:
    wanted = {"destination_id": OTHERS.destination_id}
    theirs = ask(client, "POST", "/subscriptions", status=404, json=wanted)["detail"]
    nobody = ask(client, "POST", "/subscriptions", status=404, json={"destination_id": "d-nobodys"})["detail"]
    assert theirs.replace(OTHERS.destination_id, "?") == nobody.replace("d-nobodys", "?")


def test_deliveries_follow_one_another_newest_first(client: Client) -> None:
    asked: dict[str, Any] = {"limit": 40}
    first = ask(client, "GET", "/deliveries", "reader", params=asked)
    rest = ask(client, "GET", "/deliveries", "reader", params=asked | {"cursor": first["next_cursor"]})
    rows = first["items"] + rest["items"]
    assert (len(rows), rest["next_cursor"]) == (NOTICES + 1, None)
    moments = [row["routed_at"] for row in rows]
    assert moments == sorted(moments, reverse=True)
    assert {row["tenant_id"] for row in rows} == {"contoso"}
    for who, other in (("stranger", {}), ("reader", {"destination_id": "d-mail"})):
        asked_so = asked | other | {"cursor": first["next_cursor"]}
        assert "cursor: must be" in ask(client, "GET", "/deliveries", who, 400, params=asked_so)["detail"]


def test_deliveries_are_those_of_a_notice_or_of_a_destination(client: Client) -> None:
    newest = f"n{NOTICES - 1}"
    of_notice = ask(client, "GET", f"/deliveries?notification_id={newest}", "reader")
    assert {(row["destination_id"], row["state"], row["last_code"]) for row in of_notice["items"]} == {
        ("d-mail", "SENT", 250),
        ("d-hook", "PACKED", 503),
    }
    of_hook = ask(client, "GET", "/deliveries?destination_id=d-hook", "reader")
    assert [(row["notification_id"], row["notification_kind"]) for row in of_hook["items"]] == [
        (newest, "STAGE_ENTERED")
    ]
    all_of_them = ask(client, "GET", "/deliveries?limit=1000", "operator")
    assert {row["tenant_id"] for row in all_of_them["items"]} == {"contoso", "fabrikam", "*"}
    assert ask(client, "GET", "/deliveries?tenant=fabrikam", "operator")["items"][0]["server"] == "mx1.fabrikam.com"


def test_without_notices_the_api_says_what_to_do_and_all_else_works(
    filled: Database, report_settings: ReportSettings
) -> None:
    missing = open_ledger(report_settings)
    with TestClient(
        application_of(filled, missing, ToldEngine(), ToldPolicies()), raise_server_exceptions=False
    ) as client:
        for method, path in (("GET", "/destinations"), ("GET", "/deliveries"), ("DELETE", "/subscriptions/x")):
            assert "run tes notify" in ask(client, method, path, status=503)["detail"]
        assert not Path(report_settings.folder, "notices.db").exists()
        # The tables are there, and nobody who sends has ever begun.
        missing.migrate()
        assert "run tes notify" in ask(client, "GET", "/destinations", status=503)["detail"]
        assert ask(client, "GET", "/servers")["items"]
    missing.close()
