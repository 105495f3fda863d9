"""Commands as JSON: what is attributable is refused with an audit record, whatever is wrong with it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from streams.domain.tenant.audit import CommandOutcome
from streams.domain.validation import MalformedError
from streams.wire.records import command_of, command_record, in_order_of_issue
from tests.support.episodes import DETECTED, connection, run

WHOLE: dict[str, Any] = {
    "command_id": "c1",
    "tenant_id": "contoso",
    "issued_at": "2024-03-29T00:00:00.000Z",
    "issued_by": "admin",
    "role": "TENANT_ADMIN",
    "kind": "PAUSE_CREATE",
    "days": 5,
}


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"days": 1.5}, "days: 1.5: must be a whole number"),
        ({"days": "5"}, "days: '5': must be a whole number"),
        ({"days": True}, "days: True: must be a whole number"),
        ({"days": 10**12}, "days: 1000000000000: must be a whole number"),
        ({"kind": "PAUSE"}, "kind: 'PAUSE': must be one of PAUSE_CREATE, PAUSE_CANCEL"),
        ({"kind": "POLICY_PUBLISHED"}, "kind: 'POLICY_PUBLISHED': must be one of"),
        ({"role": "ROOT"}, "role: 'ROOT': must be one of TENANT_ADMIN, OPERATOR"),
        ({"server": 7}, "server: 7: must be a string"),
        ({"expires_at": "soon"}, "expires_at: 'soon': must be a timestamp"),
        ({"day": 5}, "day: unknown field"),
    ],
)
def test_a_malformed_field_is_refused_by_name_value_and_rule(fields: dict[str, Any], names: str) -> None:
    found = run(connection(DETECTED))
    found.command(command_of(command_record(orjson.dumps(WHOLE | fields))))
    (audit,) = found.results.audit
    assert audit.outcome is CommandOutcome.REFUSED
    assert str(audit.reason).startswith(names)


@pytest.mark.parametrize("name", ["command_id", "tenant_id", "issued_at"])
def test_a_command_that_cannot_be_attributed_is_malformed(name: str) -> None:
    with pytest.raises(MalformedError, match=name):
        command_record(orjson.dumps(WHOLE | {name: None}))


def test_commands_of_a_file_go_by_their_moment_and_else_stay_in_order() -> None:
    early, late = dict(WHOLE), WHOLE | {"issued_at": "2024-04-01T00:00:00Z"}
    lines = [orjson.dumps(row | {"command_id": name}) for name, row in zip("abc", (late, early, late), strict=True)]
    assert [orjson.loads(line)["command_id"] for line in in_order_of_issue(lines)] == ["b", "a", "c"]
