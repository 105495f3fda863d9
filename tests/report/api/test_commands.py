"""Commands through the API: who may, what is sent, how the engine's answer is told."""

from __future__ import annotations

from typing import Any

import pytest
from litestar.testing import TestClient

from streams.report.web.commands import Outcome, OutcomeKind
from tests.support.report_api import CALLERS, ToldEngine, bearer

PAUSE = {"kind": "PAUSE_CREATE", "days": 14, "reason": "Update on Sunday"}


def test_a_command_has_the_role_and_the_tenant_of_its_caller(client: TestClient[Any], engine: ToldEngine) -> None:
    answer = client.post("/v1/commands", json=PAUSE, headers=bearer("admin"))
    assert (answer.status_code, answer.json()["outcome"], answer.json()["quota_left_days"]) == (200, "ACCEPTED", 76)
    ((caller, tenant, command),) = engine.taken
    assert (caller, tenant) == (CALLERS["admin"], "contoso")
    assert (command["kind"], command["days"], command["command_id"]) == ("PAUSE_CREATE", 14, None)


def test_a_command_may_be_repeated_by_its_key(client: TestClient[Any], engine: ToldEngine) -> None:
    headers = {**bearer("admin"), "Idempotency-Key": "4f1c"}
    answer = client.post("/v1/commands", json=PAUSE, headers=headers)
    assert (answer.json()["command_id"], engine.taken[0][2]["command_id"]) == ("4f1c", "4f1c")


def test_a_day_is_its_first_moment(client: TestClient[Any], engine: ToldEngine) -> None:
    given = {"kind": "EXCEPTION_GRANT", "server": "mx1.contoso.com", "expires_at": "2026-12-31", "owner": "o"}
    assert client.post("/v1/commands?tenant=contoso", json=given, headers=bearer("operator")).status_code == 200
    assert engine.taken[0][1:][0] == "contoso"
    assert engine.taken[0][2]["expires_at"] == 1_798_675_200_000


def test_readers_give_no_commands_and_nobody_another_tenants(client: TestClient[Any], engine: ToldEngine) -> None:
    assert client.post("/v1/commands", json=PAUSE, headers=bearer("reader")).status_code == 403
    assert client.post("/v1/commands?tenant=contoso", json=PAUSE, headers=bearer("stranger")).status_code == 404
    assert client.post("/v1/commands", json=PAUSE, headers=bearer("operator")).status_code == 400
    assert client.post("/v1/commands", json=PAUSE).status_code == 401
    assert engine.taken == []


def test_a_refusal_says_why(client: TestClient[Any], engine: ToldEngine) -> None:
    engine.answer = Outcome("", OutcomeKind.REFUSED, "days: 14: only 3 are left this year", 3)
    answer = client.post("/v1/commands", json=PAUSE, headers=bearer("admin"))
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
    shown = answer.json()
    assert (shown["detail"], shown["outcome"], shown["quota_left_days"]) == (engine.answer.reason, "REFUSED", 3)


def test_an_outcome_that_is_not_known_yet_is_asked_for_later(client: TestClient[Any], engine: ToldEngine) -> None:
    engine.answer = Outcome("", OutcomeKind.PENDING)
    answer = client.post("/v1/commands", json=PAUSE, headers={**bearer("admin"), "Idempotency-Key": "c1"})
    assert (answer.status_code, answer.headers["location"]) == (202, "/v1/commands/c1")
    later = client.get("/v1/commands/c1", headers=bearer("admin"))
    assert (later.status_code, later.json()["outcome"]) == (200, "ACCEPTED")
    assert client.get("/v1/commands/c2", headers=bearer("admin")).status_code == 404
    assert client.get("/v1/commands/c2", headers=bearer("stranger")).status_code == 200


def test_kafka_away_is_told_with_how_to_try_again(client: TestClient[Any], engine: ToldEngine) -> None:
    engine.is_away = True
    answer = client.post("/v1/commands", json=PAUSE, headers=bearer("admin"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "Idempotency-Key" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "POLICY_PUBLISHED"}, "kind: 'POLICY_PUBLISHED': must be one of"),
        ({"kind": "UNKNOWN"}, "kind: 'UNKNOWN': must be one of"),
        ({"kind": "PAUSE"}, "kind"),
        ({"days": 0}, "days"),
        ({"days": "many"}, "days"),
        ({"expires_at": "soon"}, "expires_at: 'soon': must be a day or time like"),
        ({"role": "OPERATOR"}, "role"),
        ({"issued_by": "root"}, "issued_by"),
    ],
)
def test_what_is_no_command_is_refused_by_its_field(
    client: TestClient[Any], engine: ToldEngine, changes: dict[str, Any], said: str
) -> None:
    answer = client.post("/v1/commands", json=PAUSE | changes, headers=bearer("admin"))
    assert (answer.status_code, engine.taken) == (400, [])
    assert said.split(":", maxsplit=1)[0] in answer.json()["detail"]
    if ":" in said:
        assert answer.json()["detail"].startswith(said)


def test_a_body_that_is_too_large_is_not_read(client: TestClient[Any], engine: ToldEngine) -> None:
    answer = client.post("/v1/commands", json=PAUSE | {"reason": "x" * (65 << 10)}, headers=bearer("admin"))
    assert (answer.status_code, engine.taken) == (413, [])
