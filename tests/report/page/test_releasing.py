"""The release of everybody: what confirms it, until when it holds, and that only its record says it was done."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from streams.domain.policy.policy import Mode
from streams.policies.files import read_policy
from streams.report.access.callers import Caller
from streams.report.model.batch import AUDIT
from streams.report.web.coming import AnnouncedPolicy
from streams.report.web.commands import Outcome, OutcomeKind
from streams.wire.policy import content_of
from tests.support.page_client import Client, client_of, read
from tests.support.page_world import COMING, CSRF, NOW, OPERATOR, Engine
from tests.support.report import audit_record, read_of

GIVEN = {"csrf_token": CSRF, "confirmation": "RELEASE", "reason": "wrong floor"}
POLICY = read_policy("microsoft-2026-09")
RELEASE = f"{POLICY.policy_id}/2"
UNTIL = "until 27 Dec 2026, 09:00 UTC, when microsoft-2027/2 begins"


class Publisher(Engine):
    """Publishes the release as the real port does: its audit record comes to the tables a little later."""

    async def release_all(self, caller: Caller, reason: str) -> Outcome:
        outcome = await super().release_all(caller, reason)
        if outcome.kind is OutcomeKind.ACCEPTED:
            asyncio.get_running_loop().call_later(self.late_seconds, self.publish, 2, caller.name)
        return outcome._replace(command_id=RELEASE)

    def publish(self, version: int, issued_by: str, mode: Mode = Mode.REPORT) -> None:
        """Write the audit record of a version of the policy."""
        self.offset += 1
        record = audit_record(
            self.offset,
            tenant_id="*",
            command_id=None,
            kind="POLICY_PUBLISHED",
            issued_by=issued_by,
            reason=f"{POLICY.policy_id} version {version} takes effect at once.",
            occurred_at=NOW + self.offset,
            after=json.dumps(content_of(replace(POLICY, version=version, mode=mode)), default=str),
        )
        self._write(read_of(AUDIT, self.offset, record))


@pytest.fixture
def publisher(own_engine: Engine) -> Publisher:
    return Publisher(own_engine.database)


def says(client: Client, path: str) -> str:
    return read(client.get(path).text)[0]


def test_a_release_of_everybody_needs_a_typed_word_and_a_reason(publisher: Publisher) -> None:
    with client_of(publisher, OPERATOR) as client:
        for given in ({"reason": "r"}, {"confirmation": "RELEASE"}, {"confirmation": "release", "reason": "r"}):
            answer = client.post("/operator/release", data={"csrf_token": CSRF, **given})
            assert answer.status_code == 422
            assert "Type RELEASE and give a reason." in answer.text
        assert publisher.released == []
        answer = client.post("/operator/release", data=GIVEN, follow_redirects=False)
        assert answer.status_code == 303
        said = says(client, answer.headers["location"])
        assert f"Accepted. No mail of any tenant is delayed or blocked from then {UNTIL}." in said
        publisher.refusal = "no policy is in force"
        assert "no policy is in force" in client.post("/operator/release", data=GIVEN).text
    assert publisher.released == ["wrong floor"] * 2


@pytest.mark.parametrize(
    "released", ["ACCEPTED", RELEASE, f"{POLICY.policy_id}/3", f"{POLICY.policy_id}/4", "<script>"]
)
def test_a_link_does_not_say_that_a_release_was_accepted(publisher: Publisher, released: str) -> None:
    publisher.publish(2, OPERATOR.name)
    publisher.publish(3, "Somebody Else")
    with client_of(publisher, OPERATOR) as client:
        assert "Accepted." not in client.get("/operator", params={"released": released}).text
        publisher.publish(4, OPERATOR.name, Mode.ENFORCE)
        assert "Accepted." not in client.get("/operator", params={"released": released}).text


def test_a_release_that_is_not_listed_yet_is_to_be_looked_for_again(publisher: Publisher) -> None:
    with client_of(publisher, OPERATOR) as client:
        said = says(client, f"/operator?released={RELEASE}")
    assert "The list of publications does not show this release. Load this page again in a moment." in said


@pytest.mark.parametrize(
    ("policies", "promise"),
    [
        ([], "from then on."),
        ([COMING], f"from then {UNTIL}."),
        ([COMING._replace(mode="enforce")], f"from then {UNTIL}."),
        ([COMING._replace(mode="REPORT"), COMING._replace(name="catalogue/9", mode=None)], "from then on."),
        ([AnnouncedPolicy("quiet/1", NOW + 1, NOW, "Observe"), COMING], f"from then {UNTIL}."),
    ],
)
def test_a_release_is_promised_until_an_announced_policy_enforces(
    publisher: Publisher, policies: list[AnnouncedPolicy], promise: str
) -> None:
    publisher.policies = policies
    with client_of(publisher, OPERATOR) as client:
        assert f"No mail of any tenant is delayed or blocked {promise}" in says(client, "/operator")


@pytest.mark.parametrize("mode", ["OBSERVE", "observe"])
def test_a_mode_is_told_whatever_its_case(publisher: Publisher, mode: str) -> None:
    publisher.policies = [COMING._replace(mode=mode)]
    with client_of(publisher, OPERATOR) as client:
        assert "It will only observe" in says(client, "/coming?tenant=contoso")
