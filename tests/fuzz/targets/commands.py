"""Administrator commands as JSON lines, carried out in their order on one tenant with one known server."""

from __future__ import annotations

from streams.domain.tenant.commands import check_command
from streams.domain.time import DAY_MS
from streams.domain.validation import MalformedError
from streams.service.simulation import Simulation
from streams.wire.records import command_of, command_record, in_order_of_issue, to_record
from tests.fuzz.targets.service import check_reason, codec, connection, rulebook

MAX_LINES = 12


def check(data: bytes) -> None:
    """A line is malformed, or one command with exactly one audit record; an id that was given before has none."""
    lines = in_order_of_issue(data.split(b"\n")[:MAX_LINES])
    simulation = Simulation(rulebook())
    simulation.feed(connection())
    audits = simulation.results.audit
    seen: set[tuple[str, str]] = set()
    for line in lines:
        try:
            record = command_record(line)
            check_command(command_of(record))
        except MalformedError as error:
            check_reason(error, 500)
            continue
        command = command_of(record)
        assert command_of(codec("admin_command").decode(codec("admin_command").encode(record))) == command
        before = len(audits)
        simulation.command(command)
        name = (command.tenant_id, command.command_id)
        assert len(audits) - before == (name not in seen)
        seen.add(name)
        simulation.advance(simulation.stream_time + DAY_MS)
    for audit in audits:
        codec("audit_record").encode(to_record(audit))
    simulation.advance(simulation.stream_time + 100 * DAY_MS)
    for notification in simulation.results.notifications:
        codec("admin_notification").encode(to_record(notification))
