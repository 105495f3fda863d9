"""Connections as the JSON lines of a feed, applied one after the other."""

from __future__ import annotations

from streams.domain.server.sighting import check_sighting
from streams.domain.time import LATEST_MS
from streams.domain.validation import MalformedError
from streams.service.simulation import Simulation
from streams.wire.records import connection_of, connection_record, to_json_line, to_record
from tests.fuzz.targets.service import check_reason, codec, rulebook

MAX_LINES = 8


def check(data: bytes) -> None:
    """A line is malformed, or a connection after which its server has a row; whatever follows can be written."""
    simulation = Simulation(rulebook())
    for line in data.split(b"\n")[:MAX_LINES]:
        try:
            record = connection_record(line)
            connection = connection_of(record)
            check_sighting(connection)
        except MalformedError as error:
            check_reason(error, 500)
            continue
        assert codec("inbound_connection").decode(codec("inbound_connection").encode(record)) == record
        simulation.feed(connection)
        assert any(tenant == connection.tenant_id for tenant, _ in simulation.results.servers)
    rows = [to_record(row) for row in simulation.results.servers.values()]
    simulation.advance(LATEST_MS)
    for schema, emitted in (
        ("server_report", rows),
        ("verdict", [to_record(verdict) for verdict in simulation.results.verdicts]),
        ("admin_notification", [to_record(told) for told in simulation.results.notifications]),
    ):
        for row in emitted:
            codec(schema).encode(row)
            to_json_line(row)
