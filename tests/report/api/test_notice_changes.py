"""Whoever changes who is told leaves a line in the log: who, what, whose, and nothing secret."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from litestar.testing import TestClient

from tests.support.notice_history import SECRET, TOKEN
from tests.support.report_api import bearer

Client = TestClient[Any]
HOOK = {"kind": "WEBHOOK", "name": "Pager", "address": f"https://pager.contoso.example/{TOKEN}"}


def ask(client: Client, method: str, path: str, who: str = "admin", **options: Any) -> Any:
    answer = client.request(method, f"/v1{path}", headers=bearer(who), **options)
    return answer.json() if answer.content else None


def told_of(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    found = [vars(record) for record in caplog.records]
    return [one["fields"] for one in found if one.get("event") == "report_notices_changed"]


def test_every_change_is_told_with_who_and_what(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        made = ask(client, "POST", "/destinations", json=HOOK)
        key = made["destination"]["destination_id"]
        ask(client, "PATCH", f"/destinations/{key}", json={"zone": "Asia/Tokyo"})
        ask(client, "POST", f"/destinations/{key}/confirmation")
        renewed = ask(client, "POST", f"/destinations/{key}/secret")
        ask(client, "POST", "/destinations/d-mail/test")
        ask(client, "POST", "/destinations/d-hook/unpark")
        subscribed = ask(client, "POST", "/subscriptions", json={"destination_id": key, "least_severity": "WARNING"})
        path = f"/subscriptions/{subscribed['subscription_id']}"
        ask(client, "PUT", path, json={"digest": "HOURLY"})
        ask(client, "DELETE", path)
        ask(client, "DELETE", f"/destinations/{key}")
        ask(client, "POST", "/destinations", "operator", json=HOOK | {"kind": "MAIL", "address": "a@operator.example"})
    lines = told_of(caplog)
    assert [line["action"] for line in lines] == [
        "destination_added",
        "destination_changed",
        "destination_asked",
        "secret_renewed",
        "destination_tested",
        "destination_unparked",
        "subscription_added",
        "subscription_changed",
        "subscription_ended",
        "destination_removed",
        "destination_added",
    ]
    own = lines[:-1]
    assert {(line["by"], line["role"], line["tenant"]) for line in own} == {("Ada Admin", "tenant-admin", "contoso")}
    assert (lines[-1]["role"], lines[-1]["tenant"]) == ("operator", "*")
    assert all(line["subject"] for line in lines)
    assert (lines[0]["destination"], lines[0]["address"]) == (key, "https://pager.contoso.example/…")
    assert (lines[1]["zone"], lines[-2]["destination"]) == ("Asia/Tokyo", key)
    assert (lines[6]["least_severity"], lines[7]["digest"]) == ("WARNING", "HOURLY")
    assert {line["subscription"] for line in lines[6:9]} == {subscribed["subscription_id"]}
    for secret in (made["secret"], renewed["secret"], TOKEN, SECRET):
        assert secret not in caplog.text
        assert secret not in str(lines)


def test_what_was_refused_or_only_looked_at_is_no_change(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ask(client, "POST", "/destinations", json=HOOK | {"address": "http://x"})
        ask(client, "POST", "/destinations", "reader", json=HOOK)
        ask(client, "DELETE", "/destinations/d-mail", "reader")
        ask(client, "DELETE", "/destinations/d-nobodys")
        ask(client, "POST", "/destinations/d-asked/test")
        ask(client, "PUT", "/subscriptions/s-nobodys", json={})
        for path in ("/destinations", "/destinations/d-hook", "/subscriptions", "/deliveries"):
            ask(client, "GET", path)
    assert told_of(caplog) == []
