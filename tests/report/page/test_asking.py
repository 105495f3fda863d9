"""Forms: what they show before one confirms, what they ask of the engine, and that they ask it once."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.page_client import client_of, form_of, read
from tests.support.page_world import ADMIN, CSRF, OPERATOR, READER, Engine, Session


def test_a_pause_shows_its_cost_and_dates_before_and_its_outcome_after(own_engine: Engine) -> None:
    with client_of(own_engine, ADMIN) as client:
        html = client.get("/pauses/new?server=ex03.contoso.com&days=7").text
        said, _ = read(html)
        assert "83 of 90 days of pause are left in 2026." in said
        assert "It begins at once and ends on 4 Dec 2026, 09:00 UTC ." in said
        assert "It costs 7 days of 2026, which then has 76 left." in said
        assert "delayed 20 min/h 29 Nov 2026, 09:00 UTC 6 Dec 2026, 09:00 UTC" in said
        fields = form_of(html, "/pauses")
        assert fields == {"csrf_token": CSRF, "key": fields["key"], "server": "ex03.contoso.com", "days": "7"}
        answer = client.post("/pauses", data=fields, follow_redirects=False)
        assert answer.status_code == 303
        assert own_engine.submitted == [
            (
                ADMIN,
                "contoso",
                {"command_id": fields["key"], "kind": "PAUSE_SERVER", "server": "ex03.contoso.com", "days": 7},
            )
        ]
        shown = client.get(answer.headers["location"]).text
        assert "Accepted; 76 days of pause left." in shown
        assert client.get(answer.headers["location"]).status_code == 200
        assert len(own_engine.submitted) == 1
        client.post("/pauses", data=fields)
        assert {command["command_id"] for _, _, command in own_engine.submitted} == {fields["key"]}


def test_a_form_has_a_key_of_its_own_each_time(own_engine: Engine) -> None:
    with client_of(own_engine, ADMIN) as client:
        keys = {form_of(client.get("/pauses/new").text, "/pauses")["key"] for _ in range(3)}
    assert len(keys) == 3


def test_a_refusal_says_why(own_engine: Engine) -> None:
    own_engine.refusal = "days: 80 of 2026: only 9 of 90 days are left in that year <b>"
    with client_of(own_engine, ADMIN) as client:
        fields = form_of(client.get("/pauses/new?days=80").text, "/pauses")
        shown = client.post("/pauses", data=fields).text
    assert "Refused; nothing has changed." in shown
    assert "only 9 of 90 days are left in that year &lt;b&gt;" in shown


def test_an_outcome_that_is_not_known_yet_is_said_to_be(own_engine: Engine) -> None:
    own_engine.is_silent = True
    with client_of(own_engine, ADMIN) as client:
        fields = form_of(client.get("/pauses/new").text, "/pauses")
        assert "its outcome is not known yet" in client.post("/pauses", data=fields).text


def test_commands_that_are_not_taken_now_may_be_given_again(own_engine: Engine) -> None:
    own_engine.is_away = True
    with client_of(own_engine, ADMIN) as client:
        fields = form_of(client.get("/pauses/new").text, "/pauses")
        answer = client.post("/pauses", data=fields)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        own_engine.is_away = False
        assert client.post("/pauses", data=fields, follow_redirects=False).status_code == 303


def test_a_pause_beyond_the_quota_cannot_be_confirmed(own_engine: Engine) -> None:
    with client_of(own_engine, ADMIN) as client:
        html = client.get("/pauses/new?days=90").text
        assert 'method="post"' in html
        assert "It costs 35 days of 2026, which then has 48 left." in html
        assert "It costs 55 days of 2027, which then has 35 left." in html
        html = client.get("/pauses/new?days=366").text
        assert 'action="/pauses"' not in html
    assert "That is more than 2027 has left: ask for at most 90 days." in html


@pytest.mark.parametrize("days", ["", "0", "-1", "367", "7.5", "\u0661", "9999999", "7; DROP"])
def test_days_that_are_none_are_explained_at_their_field(own_engine: Engine, days: str) -> None:
    with client_of(own_engine, ADMIN) as client:
        assert "Give a whole number of days from 1 to 366." in client.get("/pauses/new", params={"days": days}).text
        fields = form_of(client.get("/pauses/new").text, "/pauses") | {"days": days}
        answer = client.post("/pauses", data=fields)
    assert answer.status_code == 422
    assert 'aria-invalid="true" aria-describedby="days-fault"' in answer.text
    assert own_engine.submitted == []


def test_a_running_pause_can_be_ended(own_engine: Engine) -> None:
    with client_of(own_engine, ADMIN) as client:
        html = client.get("/pauses").text
        fields = form_of(html, "/pauses")
        assert fields["server"] == "ex05.contoso.com"
        client.post("/pauses", data=fields)
    command = own_engine.submitted[0][2]
    assert command == {"command_id": fields["key"], "kind": "PAUSE_CANCEL", "server": "ex05.contoso.com"}


def test_a_bearer_token_needs_no_form_token(own_engine: Engine) -> None:
    with client_of(own_engine, ADMIN, Session(None)) as client:
        fields = form_of(client.get("/pauses/new").text, "/pauses")
        assert "csrf_token" not in fields
        assert client.post("/pauses", data=fields, follow_redirects=False).status_code == 303


@pytest.mark.parametrize("key", ["", "1", "x" * 5_000, "../"])
def test_a_form_without_its_key_is_none(own_engine: Engine, key: str) -> None:
    with client_of(own_engine, ADMIN) as client:
        assert client.post("/pauses", data={"csrf_token": CSRF, "days": "7", "key": key}).status_code == 400
    assert own_engine.submitted == []


def test_readers_ask_for_nothing(own_engine: Engine) -> None:
    with client_of(own_engine, READER) as client:
        assert client.post("/pauses", data={"csrf_token": CSRF, "days": "7"}).status_code == 403
        assert client.post("/operator/server", data={"csrf_token": CSRF}).status_code == 403
    assert own_engine.submitted == []


PATH = "/operator/server?tenant=contoso"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"kind": "EXCEPTION_GRANT", "owner": "Ann", "reason": "old scanner", "until": "2027-01-31"},
            {"owner": "Ann", "reason": "old scanner", "expires_at": 1801439999000},
        ),
        (
            {"kind": "OVERRIDE_BUILD", "build": "15.01.2507.061", "reason": "stamp is wrong", "until": "2026-12-24"},
            {"build": "15.1.2507.61", "reason": "stamp is wrong", "expires_at": 1798156799000},
        ),
        ({"kind": "EXCEPTION_REVOKE"}, {}),
    ],
)
def test_an_operator_asks_for_one_server(own_engine: Engine, given: dict[str, str], expected: dict[str, Any]) -> None:
    with client_of(own_engine, OPERATOR) as client:
        fields = form_of(client.get(f"{PATH}&server=ex03.contoso.com").text, PATH)
        shown = client.post(PATH, data=fields | given)
    assert "Accepted" in shown.text
    server = {"command_id": fields["key"], "kind": given["kind"], "server": "ex03.contoso.com"}
    assert own_engine.submitted == [(OPERATOR, "contoso", server | expected)]


@pytest.mark.parametrize(
    ("given", "faults"),
    [
        ({"kind": "EXCEPTION_GRANT"}, {"owner", "reason", "until"}),
        ({"kind": "EXCEPTION_GRANT", "owner": "A", "reason": "r", "until": "2020-01-01"}, {"until"}),
        ({"kind": "EXCEPTION_GRANT", "owner": "A", "reason": "r", "until": "2200-01-01x"}, {"until"}),
        (
            {"kind": "OVERRIDE_BUILD", "build": "15", "reason": "r" * 999, "until": "tomorrow"},
            {"build", "reason", "until"},
        ),
    ],
)
def test_what_an_operator_left_out_is_said_at_its_field(
    own_engine: Engine, given: dict[str, str], faults: set[str]
) -> None:
    with client_of(own_engine, OPERATOR) as client:
        fields = form_of(client.get(f"{PATH}&server=ex03.contoso.com").text, PATH)
        answer = client.post(PATH, data=fields | given)
        assert client.post(PATH, data=fields | {"kind": "PAUSE_CREATE"}).status_code == 400
    assert answer.status_code == 422
    assert set(re.findall(r'id="(\w+)-fault"', answer.text)) == faults
    assert f'value="{fields["key"]}"' in answer.text
    assert own_engine.submitted == []
