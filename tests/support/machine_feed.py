"""Connections of servers behind whose names stand several machines that stay the same."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from streams.domain.time import DAY_MS, HOUR_MS

SMTP_BUILDS = ("15.1.2507.39", "15.1.2507.61", "15.1.2507.66", "15.1.2507.72", "15.1.2507.73", "14.3.123.4")
MAPI_BUILDS = ("15.01.2507.069", "15.01.2507.073", "15.01.2507.075")
CURRENT_BUILDS, OLD_BUILDS = ("15.2.2562.45", "15.1.2507.73"), ("14.3.123.4", "15.0.1497.48", "15.1.2106.2")
HOST_ADDRESSES = ("", "10.0.0.1", "10.0.0.2", "fe80::1")
SOURCES = ("192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1", "2001:DB8::1")
"""Two spellings are of one address."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine behind a name: what its lines give as its address, where it connects from, and what it stamps.

    One with a `mapi` build stamps its own mail twice, other mail only with its `smtp` build. A gateway stamps no build.
    """

    by_address: str
    sources: tuple[str, ...]
    smtp: str
    mapi: str | None
    is_gateway: bool
    connector_type: str

    def lines(self, host: str, date: str, is_own_mail: bool) -> list[str]:
        """The `Received` lines of a message, topmost first."""
        shown = f" ({self.by_address})" if self.by_address else ""
        if self.is_gateway:
            return [f"from a by {host}{shown} with ESMTPS id 4Xq; {date}"]
        if self.mapi is None or not is_own_mail:
            return [f"from a by {host}{shown} with Microsoft SMTP Server id {self.smtp}; {date}"]
        return [
            f"from {host}{shown} by {host}{shown} with Microsoft SMTP Server id {self.smtp}; {date}",
            f"from {host}{shown} by {host}{shown} with mapi id {self.mapi}; {date}",
        ]


def any_machine(chance: random.Random) -> Machine:
    """A machine of any kind; most are an Exchange server over a connector that is judged."""
    return Machine(
        by_address=chance.choice(HOST_ADDRESSES),
        sources=tuple(chance.sample(SOURCES, chance.randrange(1, 3))),
        smtp=chance.choice(SMTP_BUILDS),
        mapi=chance.choice((None, *MAPI_BUILDS)),
        is_gateway=chance.random() < 0.15,
        connector_type="PARTNER" if chance.random() < 0.1 else "ON_PREMISES",
    )


def half_stamping_machine(chance: random.Random) -> Machine:
    """A patched machine whose SMTP stamp lags behind its mapi stamp."""
    return Machine(
        chance.choice(HOST_ADDRESSES), (chance.choice(SOURCES),), "15.1.2507.66", "15.01.2507.069", False, "ON_PREMISES"
    )


def machine_feed(seed: int, count: int, step: int, *, start: int) -> list[dict[str, Any]]:
    """Connections of four servers of one to four machines each, at most `step` ms apart, from `start` (UTC ms) on."""
    chance = random.Random(seed)
    machines = {
        (tenant, host): [half_stamping_machine(chance)] if is_lagging else _some_machines(chance)
        for tenant in ("t0", "t1")
        for host, is_lagging in (("mx0.example.com", chance.random() < 0.5), ("mx1.example.com", False))
    }
    return _connections(chance, machines, count, step, start)


def mixed_feed(seed: int, count: int, step: int, *, start: int) -> list[dict[str, Any]]:
    """Connections as of `machine_feed`, of servers each of which has an accepted machine and one that is not."""
    chance = random.Random(seed)
    machines = {
        (tenant, host): [
            Machine("10.0.0.1", SOURCES[:1], chance.choice(CURRENT_BUILDS), None, False, "ON_PREMISES"),
            Machine("10.0.0.2", SOURCES[1:2], chance.choice(OLD_BUILDS), None, False, "ON_PREMISES"),
        ]
        for tenant in ("t0", "t1")
        for host in ("mx0.example.com", "mx1.example.com")
    }
    return _connections(chance, machines, count, step, start)


def cloud_feed(seed: int, count: int, step: int, *, start: int) -> list[dict[str, Any]]:
    """Connections as of `machine_feed`, of servers that also show a build that no own server has."""
    chance = random.Random(seed)
    machines = {
        (tenant, host): [
            Machine(address, (chance.choice(SOURCES),), build, None, False, "ON_PREMISES")
            for address, build in (
                ("10.0.0.1", chance.choice(OLD_BUILDS)),
                (chance.choice(HOST_ADDRESSES), "15.20.8466.16"),
                *((("10.0.0.2", chance.choice(CURRENT_BUILDS)),) if chance.random() < 0.3 else ()),
            )
        ]
        for tenant in ("t0", "t1")
        for host in ("mx0.example.com", "mx1.mail.protection.outlook.com")
    }
    return _connections(chance, machines, count, step, start)


def _connections(
    chance: random.Random, machines: dict[tuple[str, str], list[Machine]], count: int, step: int, start: int
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    at = start
    for number in range(count):
        at += chance.randrange(step)
        late = chance.randrange(HOUR_MS) if chance.random() < 0.1 else 0
        tenant, host = chance.choice(list(machines))
        rows.append(_connection(chance, number, at - late, tenant, host, chance.choice(machines[tenant, host])))
        if chance.random() < 0.05:
            rows.append(rows[-1])
    return rows


def _some_machines(chance: random.Random) -> list[Machine]:
    first = any_machine(chance)
    # Most often all machines of a host have the same update.
    is_uniform = chance.random() < 0.6
    others = [any_machine(chance) for _ in range(chance.randrange(4))]
    if is_uniform:
        others = [
            Machine(other.by_address, other.sources, first.smtp, first.mapi, other.is_gateway, first.connector_type)
            for other in others
        ]
    return [first, *others]


def _connection(
    chance: random.Random, number: int, at: int, tenant: str, host: str, machine: Machine
) -> dict[str, Any]:
    # A message may have waited in a queue.
    written_at = at - chance.randrange(2 * DAY_MS) if chance.random() < 0.05 else at
    date = datetime.fromtimestamp(written_at // 1000, UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
    return {
        "observed_at": at,
        "connector_type": machine.connector_type,
        "tenant_id": tenant,
        "received": machine.lines(host, date, is_own_mail=chance.random() < 0.5),
        "event_id": f"e{number}" if chance.random() < 0.97 else "e1",
        "connector_id": chance.choice(("c1", "c2")),
        "source_ip": chance.choice(machine.sources),
        "helo": "h",
        "tls_subject": None,
        "message_id": f"<{number}@example.com>",
        "outcome": chance.choice(("ACCEPTED", "DEFERRED", "REJECTED", None)),
        "recipients": 1,
        "refused_before": 0,
    }
