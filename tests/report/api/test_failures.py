"""What a caller is told when the report cannot answer: no database, a fault of ours, too many requests."""

from __future__ import annotations

import logging
from typing import Any

import psycopg
import pytest
from litestar.testing import TestClient
from sqlalchemy.exc import DataError, OperationalError

from streams.database.database import Database
from streams.report.api import servers
from streams.telemetry.logs import JsonFormatter, TextFormatter
from tests.support.report_api import ToldEngine, ToldPolicies, application_of, bearer

SECRET = "postgresql://tes:secret@db/tes"


def fail(error: Exception) -> Any:
    def reading(*_: Any) -> Any:
        raise error

    return reading


def test_a_database_that_is_away_is_told_without_a_word_of_it(
    client: TestClient[Any], filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filled, "reading", fail(OperationalError(SECRET, {}, OSError(SECRET))))
    for path in ("/v1/servers", "/v1/servers/mx1.contoso.com", "/v1/export/servers.csv", "/v1/summary"):
        answer = client.get(path, headers=bearer("reader"))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5"), path
        assert answer.headers["content-type"] == "application/problem+json"
        assert "secret" not in answer.text


def test_a_fault_of_ours_is_logged_with_the_id_that_the_caller_has(
    client: TestClient[Any], filled: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(filled, "reading", fail(KeyError(SECRET)))
    with caplog.at_level(logging.ERROR, "streams.report"):
        answer = client.get("/v1/servers", headers={**bearer("reader"), "X-Request-Id": "my-id.7"})
    assert (answer.status_code, answer.json()["request_id"]) == (500, "my-id.7")
    assert "secret" not in answer.text
    (record,) = [record for record in caplog.records if record.name.startswith("streams.report")]
    assert record.__dict__["fields"]["request_id"] == "my-id.7"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\x1b[31m", "é"])
def test_an_id_that_is_none_is_replaced(client: TestClient[Any], given: str) -> None:
    headers = [(b"x-request-id", given.encode()), (b"authorization", b"Bearer reader")]
    name = client.get("/v1/summary", headers=headers).headers["x-request-id"]
    assert name != given
    assert len(name) == 16


def test_requests_are_limited_by_who_sends_them(filled: Database, told: Database) -> None:
    application = application_of(filled, told, ToldEngine(), ToldPolicies(), requests_a_minute=3)
    with TestClient(application) as client:
        found = [
            client.get("/v1/summary", headers={**bearer("reader"), "X-Forwarded-For": f"192.0.2.{number}"})
            for number in range(5)
        ]
        assert [answer.status_code for answer in found] == [200, 200, 200, 429, 429]
        assert found[-1].headers["content-type"] == "application/problem+json"
        assert int(found[-1].headers["retry-after"]) >= 0
        assert client.get("/v1/summary", headers=bearer("admin")).status_code == 200


def test_a_path_or_method_that_is_none_is_a_problem_like_others(client: TestClient[Any]) -> None:
    for method, path, status in (("GET", "/v1/nothing", 404), ("DELETE", "/v1/servers", 405), ("GET", "/%00", 404)):
        answer = client.request(method, path, headers=bearer("reader"))
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def assert_refused(
    client: TestClient[Any], caplog: pytest.LogCaptureFixture, method: str, path: str, **sent: Any
) -> str:
    """It is told as the caller's fault, and is none of ours; returns why."""
    headers = {"X-Request-Id": "my-id.7", **bearer(sent.pop("caller", "admin"))}
    with caplog.at_level(logging.ERROR):
        answer = client.request(method, path, headers=headers, **sent)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "my-id.7"
    assert caplog.records == []
    return str(answer.json()["detail"])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/servers/%00", "path: "),
        ("/v1/servers/mx1.contoso.com%00", "path: "),
        ("/v1/servers/a/%00/b", "path: "),
        ("/v1/commands/a%00", "path: "),
        ("/v1/servers?search=a%00b", "search: 'a\\x00b': "),
        ("/v1/servers?cursor=%00", "cursor: "),
        ("/v1/servers?%00=a", "'\\x00': "),
        ("/v1/export/servers.csv?search=%00", "search: "),
        ("/v1/export/servers.jsonl?search=%00", "search: "),
        ("/v1/notifications?server=%00", "server: "),
        ("/v1/audit?server=%00", "server: "),
        ("/v1/summary?tenant=%00", "tenant: "),
    ],
)
@pytest.mark.parametrize("caller", ["admin", "operator"])
def test_a_character_that_no_text_has_is_refused(
    client: TestClient[Any], caplog: pytest.LogCaptureFixture, path: str, said: str, caller: str
) -> None:
    assert assert_refused(client, caplog, "GET", path, caller=caller).startswith(said)


def test_what_a_database_refuses_of_a_value_is_the_callers_fault(
    client: TestClient[Any], filled: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(servers, "server_in_path", lambda _: "a\0")  # as if nothing before had refused it
    if filled.kind == "postgresql":
        detail = assert_refused(client, caplog, "GET", "/v1/servers/a")
        assert detail == "the database refuses a value of the request"
    else:
        assert client.get("/v1/servers/a", headers=bearer("admin")).status_code == 404


@pytest.mark.parametrize("state", [None, "22021", "22P05"])
def test_a_value_that_is_refused_is_not_told_in_the_words_of_the_database(
    client: TestClient[Any],
    filled: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    state: str | None,
) -> None:
    cause = psycopg.DataError(SECRET)
    cause.sqlstate = state
    monkeypatch.setattr(filled, "reading", fail(DataError(SECRET, {}, cause)))
    detail = assert_refused(client, caplog, "GET", "/v1/servers")
    assert "secret" not in detail
    with caplog.at_level(logging.WARNING, "streams.report"):
        client.get("/v1/servers?search=%1b", headers={"X-Request-Id": "my-id.8", **bearer("admin")})
    (record,) = caplog.records
    assert (record.__dict__["event"], record.levelname) == ("report_request_value_refused", "WARNING")
    about = {"request_id": "my-id.8", "path": "/v1/servers", "error": "DataError", "sqlstate": state}
    assert record.__dict__["fields"] == about
    assert "secret" not in JsonFormatter([]).format(record) + TextFormatter([]).format(record)


@pytest.mark.parametrize("start", [b"[", b'{"kind":', b'{"kind":"PAUSE_CREATE","reason":['])
@pytest.mark.parametrize("depth", [500, 990, 20_000])
def test_a_body_that_is_nested_too_deeply_is_refused(
    client: TestClient[Any], engine: ToldEngine, caplog: pytest.LogCaptureFixture, start: bytes, depth: int
) -> None:
    content = start * min(depth, 60_000 // len(start))
    assert_refused(client, caplog, "POST", "/v1/commands", content=content)
    assert engine.taken == []
