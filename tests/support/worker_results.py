"""What real workers wrote, compared with what the pure core gives."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from streams.cli.simulate import read_connection
from streams.domain.policy.rulebook import Rulebook
from streams.domain.validation import MalformedError
from streams.kafka.partitioner import kafka_partition
from streams.operations.feeds import (
    Collected,
)
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import simulate
from streams.wire.records import command_of, command_record, to_record
from tests.support.feeds import UNTIL

SIGKILLED = -9


def expected(lines: list[bytes], commands: list[bytes]) -> tuple[list[Any], list[Any], list[Any], int, list[Any]]:
    rulebook = Rulebook((read_policy("microsoft-2026-09"),), shipped_catalogue())
    refused: list[MalformedError] = []
    given = []
    for line in commands:
        try:
            given.append(command_of(command_record(line)))
        except MalformedError as error:
            refused.append(error)
    readers = (partial(read_connection, line) for line in lines)
    results = simulate(
        readers, rulebook, UNTIL, refused.append, given, lambda tenant: kafka_partition(tenant.encode(), 3)
    )
    servers = [to_record(results.servers[key]) for key in sorted(results.servers)]
    verdicts, notifications = map(to_record, results.verdicts), map(to_record, results.notifications)
    return list(verdicts), list(notifications), servers, len(refused), [to_record(row) for row in results.audit]


def check(found: Collected, lines: list[bytes], commands: list[bytes]) -> None:
    """Compare with the fold of the pure core: same records, each once, in order per server."""
    verdicts, notifications, servers, refused, audit = expected(lines, commands)
    assert sorted(found.audit, key=lambda row: row["audit_id"]) == sorted(audit, key=lambda row: row["audit_id"])
    assert Counter(row["verdict_id"] for row in found.verdicts) == Counter(row["verdict_id"] for row in verdicts)
    assert Counter(row["notification_id"] for row in found.notifications) == Counter(
        row["notification_id"] for row in notifications
    )
    by_id = {row["verdict_id"]: row for row in verdicts}
    assert all(row == by_id[row["verdict_id"]] for row in found.verdicts)
    last: dict[tuple[str, str], int] = {}
    for row in found.verdicts:
        key = (row["tenant_id"], row["server"])
        assert row["revision"] == last.get(key, 0) + 1
        last[key] = row["revision"]
    notes = {row["notification_id"]: row for row in notifications}
    assert all(row == notes[row["notification_id"]] for row in found.notifications)
    assert sorted(found.servers.values(), key=lambda row: (row["tenant_id"], row["server"])) == servers
    assert len(found.dead_letters) == refused
    assert verdicts
    assert refused
