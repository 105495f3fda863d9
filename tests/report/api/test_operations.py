"""Every operation of the OpenAPI document: who may call it, whose rows it shows, and that it holds what it promises."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from streams.database.database import Database
from streams.report.api.openapi import document
from tests.support.notice_history import OTHERS
from tests.support.report_api import ToldEngine, ToldPolicies, application_of, bearer

REPOSITORY = Path(__file__).parents[3]
DOCUMENT = json.loads(document())
FILLED = {
    "{server}": "mx1.fabrikam.com",
    "{policy}": "strict",
    "{version}": "2",
    "{command_id}": "c2",
    "{destination_id}": OTHERS.destination_id,
    "{subscription_id}": "s-fabrikam",
    "{message_id}": "msg_fabrikam",
}
GIVEN = {"first": "2026-09-01", "last": "2026-09-30"}
COMMAND = {"kind": "PAUSE_CREATE", "days": 1, "server": "mx1.fabrikam.com"}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("post", "/v1/commands"): COMMAND,
    ("post", "/v1/destinations"): {"kind": "MAIL", "name": "Us", "address": "us@contoso.example"},
    ("patch", "/v1/destinations/{destination_id}"): {"name": "Ours now"},
    ("post", "/v1/subscriptions"): {"destination_id": OTHERS.destination_id},
    ("put", "/v1/subscriptions/{subscription_id}"): {},
}
CHANGING = ("post", "put", "patch", "delete")
OPERATIONS = [(method, path) for path, methods in sorted(DOCUMENT["paths"].items()) for method in methods]
STRICTER = positive_data_acceptance
"""Not asked: a cursor, a tenant or a name may fit the document and still be none."""
OF_ALL = {"/v1/policies/announced"}
"""What is no tenant's."""


def call(client: TestClient[Any], method: str, path: str, caller: str | None, **asked: str) -> Any:
    """Call an operation about another tenant's things."""
    body: dict[str, Any] = {"json": BODIES[method, path]} if (method, path) in BODIES else {}
    for name, value in FILLED.items():
        path = path.replace(name, value)
    headers = bearer(caller) if caller else {}
    return client.request(method, path, params=GIVEN | asked, headers=headers, **body)


def test_the_committed_document_is_the_applications() -> None:
    committed = (REPOSITORY / "docs/reference/report-openapi.json").read_bytes()
    assert document() == committed, "run: python -m streams.report.api.openapi > docs/reference/report-openapi.json"


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_nobody_calls_without_a_token(client: TestClient[Any], method: str, path: str) -> None:
    for caller in (None, "forged"):
        answer = call(client, method, path, caller)
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
        assert "fabrikam" not in answer.text


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_no_tenant_sees_anothers(client: TestClient[Any], engine: ToldEngine, method: str, path: str) -> None:
    """Neither by naming the tenant nor by naming its things."""
    for caller in ("reader", "admin"):
        named = call(client, method, path, caller, tenant="fabrikam")
        nobody = call(client, method, path, caller, tenant="nobody-at-all")
        if path in OF_ALL:
            assert named.status_code == 200
            continue
        refused = 403 if caller == "reader" and method in CHANGING else 404
        assert (named.status_code, nobody.status_code) == (refused, refused)
        assert comparable(named) == comparable(nobody)
        own = call(client, method, path, caller)
        assert not re.search(r"fabrikam", re.sub(r'"detail":"\w+: .*?none of this name"', "", own.text)), own.text
        assert own.status_code in (200, 201, 403, 404)
    assert all(tenant == "contoso" for _, tenant, _ in engine.taken)


def comparable(answer: Any) -> Any:
    """An answer without what it says again of what was asked."""
    return re.sub(r"fabrikam|nobody-at-all", "?", re.sub(r'"request_id":"\w+"', "", answer.text))


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_whatever_is_sent_is_answered_as_documented(
    filled: Database, told: Database, policies: ToldPolicies, method: str, path: str
) -> None:
    """By what schemathesis makes of the document: values that fit it, and values that do not."""
    application = application_of(filled, told, ToldEngine(), policies, requests_a_minute=10_000_000)
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", application, headers=bearer("operator"))
    operation = schema[path][method.upper()]

    @settings(max_examples=30, suppress_health_check=list(HealthCheck))
    @given(case=st.one_of(operation.as_strategy(), operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)))
    def sends(case: Any) -> None:
        case.call_and_validate(headers=bearer("operator"), excluded_checks=[STRICTER])

    sends()
