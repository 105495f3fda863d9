"""Servers through the API: lists, one in full, exports, entity tags."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
from litestar.testing import TestClient

from streams.database.database import Database
from streams.report.store.writer import Writer
from tests.support.report import batch_of, read_of, report_record
from tests.support.report_api import FORMULA, bearer

CONTOSO = ["mx1.contoso.com", "ip:2001:db8::1", FORMULA, "mx2.contoso.com"]


def names(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["server"] for row in answer.json()["items"]]


def test_servers_are_listed_with_what_needs_action_first(client: TestClient[Any]) -> None:
    assert names(client.get("/v1/servers", headers=bearer("reader"))) == CONTOSO
    first = client.get("/v1/servers", headers=bearer("reader")).json()["items"][0]
    assert (first["status"], first["throttle_minutes_per_hour"], first["last_seen_at"][:4]) == ("BLOCKED", 10, "2026")


def test_pages_follow_one_another(client: TestClient[Any]) -> None:
    asked: dict[str, Any] = {"limit": 3, "sort": "name"}
    first = client.get("/v1/servers", params=asked, headers=bearer("reader")).json()
    rest = client.get("/v1/servers", params=asked | {"cursor": first["next_cursor"]}, headers=bearer("reader")).json()
    assert sorted(CONTOSO) == [row["server"] for row in first["items"] + rest["items"]]
    assert rest["next_cursor"] is None
    # A cursor continues the question that it came from, of the tenant that asked it.
    for other in ({"sort": "urgency"}, {"search": "mx"}):
        answer = client.get(
            "/v1/servers", params=asked | other | {"cursor": first["next_cursor"]}, headers=bearer("reader")
        )
        assert (answer.status_code, "cursor: must be one" in answer.json()["detail"]) == (400, True)
    answer = client.get("/v1/servers", params=asked | {"cursor": first["next_cursor"]}, headers=bearer("stranger"))
    assert answer.status_code == 400


def test_servers_are_filtered(client: TestClient[Any]) -> None:
    found = client.get("/v1/servers?status=BLOCKED&status=REPORTED", headers=bearer("reader"))
    assert names(found) == CONTOSO[:2]
    assert names(client.get("/v1/servers?search=MX", headers=bearer("reader"))) == [
        "mx1.contoso.com",
        "mx2.contoso.com",
    ]


def test_an_operator_sees_all_tenants_or_one(client: TestClient[Any]) -> None:
    assert len(names(client.get("/v1/servers", headers=bearer("operator")))) == 5
    assert names(client.get("/v1/servers?tenant=fabrikam", headers=bearer("operator"))) == ["mx1.fabrikam.com"]
    answer = client.get("/v1/servers?tenant=*", headers=bearer("operator"))
    assert (answer.status_code, answer.json()["detail"]) == (400, "tenant: '*': must be the id of a tenant")
    answer = client.get("/v1/pauses", headers=bearer("operator"))
    assert (answer.status_code, answer.json()["detail"]) == (400, "tenant: missing: an operator must name one")


@pytest.mark.parametrize("name", ["mx1.contoso.com", "MX1.contoso.com.", "ip:2001:db8::1", FORMULA])
def test_one_server_is_shown_in_full(client: TestClient[Any], name: str) -> None:
    answer = client.get(f"/v1/servers/{name}", headers=bearer("reader"))
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert shown["summary"]["server"] == name.lower().strip(".")
    assert shown["report"]["remedy"] == {"name": "Exchange Server 2016 CU23 Oct25SU", "kb": "KB5066369"}
    assert [one["ends_at"] for one in shown["history"]] == [None]
    assert (shown["verdict"] is None) is (name.lower().strip(".") != "mx1.contoso.com")


def test_a_name_with_a_slash_is_found(client: TestClient[Any], filled: Database) -> None:
    name = "helo:a/b%2f?.example"
    Writer(filled, lambda _: None).write(batch_of([read_of("server_report", 5, report_record(name))]))
    answer = client.get("/v1/servers/helo:a%2Fb%252f%3F.example", headers=bearer("reader"))
    assert (answer.status_code, answer.json()["summary"]["server"]) == (200, name)


def test_what_another_tenant_has_is_as_what_nobody_has(client: TestClient[Any]) -> None:
    of_another = client.get("/v1/servers/mx1.fabrikam.com", headers=bearer("reader"))
    of_nobody = client.get("/v1/servers/mx9.fabrikam.com", headers=bearer("reader"))
    assert of_another.status_code == of_nobody.status_code == 404
    assert of_another.headers["content-type"] == "application/problem+json"
    shown = [{**answer.json(), "request_id": ""} for answer in (of_another, of_nobody)]
    assert shown[0] == json.loads(json.dumps(shown[1]).replace("mx9", "mx1"))


def test_exports_have_every_row_and_no_formula(client: TestClient[Any]) -> None:
    answer = client.get("/v1/export/servers.csv", headers=bearer("reader"))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    rows = list(csv.DictReader(answer.text.splitlines()))
    assert [row["server"] for row in rows] == ["'" + FORMULA, "ip:2001:db8::1", "mx1.contoso.com", "mx2.contoso.com"]
    assert all(not cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
    assert "\u202e" not in answer.text
    lines = client.get("/v1/export/servers.jsonl?status=COMPLIANT", headers=bearer("reader")).text.splitlines()
    assert [json.loads(line)["server"] for line in lines] == [FORMULA, "mx2.contoso.com"]
    assert client.get("/v1/export/servers.jsonl?search=none", headers=bearer("reader")).text == ""


def test_an_export_of_nothing_has_its_heading(client: TestClient[Any]) -> None:
    answer = client.get("/v1/export/servers.csv?search=none", headers=bearer("reader"))
    assert answer.text.startswith("tenant_id,server,status")
    assert len(answer.text.splitlines()) == 1


def test_what_is_known_already_is_not_sent_again(client: TestClient[Any], filled: Database) -> None:
    first = client.get("/v1/servers", headers=bearer("reader"))
    tag = first.headers["etag"]
    for known in (tag, f'"other", W/{tag}'):
        again = client.get("/v1/servers", headers={**bearer("reader"), "If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["cache-control"] == "private, no-cache"
    Writer(filled, lambda _: None).write(batch_of([read_of("server_report", 5, report_record("mx3.contoso.com"))]))
    later = client.get("/v1/servers", headers={**bearer("reader"), "If-None-Match": tag})
    assert (later.status_code, later.headers["etag"] != tag) == (200, True)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("sort=colour", "sort"),
        ("status=FINE", "status"),
        ("search=%00", "search: '\\x00': must have no control characters"),
        ("cursor=abc", "cursor: must be one"),
        ("search=" + "x" * 300, "search"),
        ("tenant=", "tenant: '': must be the id of a tenant"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_its_name(client: TestClient[Any], asked: str, said: str) -> None:
    for path in ("/v1/servers", "/v1/export/servers.csv"):
        if "export" in path and asked.split("=", maxsplit=1)[0] in ("limit", "sort", "cursor"):
            continue
        answer = client.get(f"{path}?{asked}", headers=bearer("operator"))
        assert answer.status_code == 400, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"].startswith(said), answer.text
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
