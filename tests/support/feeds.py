"""Seeded feeds and commands for real workers."""

from __future__ import annotations

import random

import orjson

from streams.domain.tenant.commands import CommandKind
from streams.domain.time import DAY_MS, iso
from streams.wire.records import parse_moment

START = parse_moment("start", "2026-06-01T00:00:00.000Z")
UNTIL = START + 130 * DAY_MS
FEED_DAYS, COMMAND_DAYS = 90, 95
WHOLE = (0, 1)
BUILDS = ("15.1.2507.39", "15.1.2507.39", "15.01.2507.061", "15.2.1748.39", "14.3.123.4", "15.2.2562.17")


def make_feed(seed: int, connections: int = 600, part: tuple[int, int] = WHOLE) -> list[bytes]:
    """Connections of 40 servers over 90 days: fixes, regressions, duplicates, late and malformed ones.

    `part` is a number from 0 and how many parts share these days; none is so late that it is of an earlier one.
    """
    chance = random.Random(seed)
    number_of_part, parts = part
    span = FEED_DAYS * DAY_MS // parts
    begin = START + number_of_part * span
    earliest = begin if number_of_part else 0
    lines = []
    for number in range(connections):
        late = (chance.random() < 0.05) * chance.randrange(DAY_MS)
        at = max(earliest, begin + number * span // connections - late)
        tenant = chance.randrange(8)
        host = f"mx{chance.randrange(5)}.tenant-{tenant}.example"
        build = chance.choice(BUILDS)
        feed_record = {
            "event_id": f"{seed}-{number}",
            "observed_at": iso(at),
            "tenant_id": f"tenant-{tenant}",
            "connector_id": "inbound",
            "connector_type": chance.choice(("ON_PREMISES", "ON_PREMISES", "PARTNER")),
            "source_ip": "192.0.2.7",
            "helo": host,
            "received": [
                f"from a.example by {host} with Microsoft SMTP Server id {build}; Mon, 1 Jun 2026 00:00:00 +0000"
            ],
            "outcome": chance.choice(("ACCEPTED", "DEFERRED", None)),
            "recipients": 1,
        }
        lines.append(orjson.dumps(feed_record))
        if chance.random() < 0.03:
            lines.append(lines[-1])
        if chance.random() < 0.01:
            lines.append(lines[-1][: chance.randrange(1, 60)])
    return lines


def make_commands(seed: int, count: int = 40, part: tuple[int, int] = WHOLE) -> list[bytes]:
    """Pauses, cancels, exceptions, overrides, refused and malformed ones, over the time of the feed or of its part."""
    chance = random.Random(seed + 1000)
    number_of_part, parts = part
    span = (COMMAND_DAYS if part == WHOLE else FEED_DAYS) * DAY_MS // parts
    begin, within = START + number_of_part * span, DAY_MS if part == WHOLE else span // count
    lines = []
    for number in range(count):
        tenant = chance.randrange(8)
        issued_at = begin + number * span // count + chance.randrange(within)
        lines.append(
            orjson.dumps(
                {
                    "command_id": f"{seed}-{number - (chance.random() < 0.1)}",
                    "tenant_id": f"tenant-{tenant}",
                    "issued_at": iso(issued_at),
                    "issued_by": "admin",
                    "role": chance.choice(("TENANT_ADMIN", "OPERATOR", "OPERATOR")),
                    "kind": chance.choice([*CommandKind, "PAUSE_CREATE", "PAUSE_CANCEL"]),
                    "days": chance.choice((1, 5, 20, 60, 91, None)),
                    "server": f"mx{chance.randrange(5)}.tenant-{tenant}.example",
                    "owner": "mail",
                    "reason": "moving",
                    "build": "15.1.2507.61",
                    "expires_at": iso(issued_at + chance.randrange(1, 60) * DAY_MS),
                }
            )
        )
    return [*lines, b'{"command_id": "x", "days": 1.5}']
