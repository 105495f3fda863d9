"""The race's feed: connections of many Exchange servers within some minutes, the same for the same seed.

Each connection comes with the build that it really shows, so that what an engine reads out of it can be checked without
trusting any reader.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

SEED = 20261124
TENANTS_PER_SERVER = 0.2
SPAN_MS = 600_000
"""Longest time that a feed covers. Rows of servers are due again after an hour: no timer may come up in a race."""
STEP_MS = 3
LATEST_MS = 2_000
"""A connection comes up to this much after a younger one."""
CHANGE_SHARE = 0.01
"""Share of connections before which the server was upgraded or rolled back."""
BUILDS = (
    (15, 0, 1497, 48),
    (15, 1, 2507, 9),
    (15, 1, 2507, 39),
    (15, 1, 2507, 55),
    (15, 1, 2507, 61),
    (15, 2, 1258, 12),
    (15, 2, 1544, 9),
    (15, 2, 1748, 39),
    (15, 2, 2562, 17),
    (15, 20, 8466, 16),
)

Build = tuple[int, int, int, int]


@dataclass(frozen=True)
class Feed:
    """Which feed: `end_ms` is the moment of its last connection (UTC), `whole` the length whose beginning it is."""

    count: int
    servers: int
    end_ms: int
    whole: int = 0

    @property
    def step_ms(self) -> float:
        """Time between two connections."""
        return min(STEP_MS, SPAN_MS / (self.whole or self.count))

    def beginning(self, count: int) -> Feed:
        """The same connections, the first `count` of them only."""
        return Feed(count, self.servers, self.end_ms, self.whole or self.count)


@dataclass(frozen=True, slots=True)
class _Server:
    tenant_id: str
    host: str
    address: str
    inside: str
    connector_type: str
    is_gateway: bool


def _fleet(chance: random.Random, servers: int) -> list[_Server]:
    tenants = max(1, round(servers * TENANTS_PER_SERVER))
    fleet = []
    for number in range(servers):
        tenant, place = number % tenants, number // tenants + 1
        kind = "PARTNER" if number % 20 == 18 else "NONE" if number % 20 == 19 else "ON_PREMISES"
        address = f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(1, 255)}"
        host = f"ex{place:02d}.mail.t{tenant:06d}.example.net"
        inside = f"10.{number % 250}.0.{number % 7 + 1}"
        fleet.append(_Server(f"tenant-{tenant:06d}", host, address, inside, kind, number % 100 == 57))
    return fleet


def connections(feed: Feed) -> Iterator[tuple[Build | None, dict[str, Any]]]:
    """The connections of a feed, each with the build it shows; None where it shows none."""
    chance = random.Random(SEED)
    fleet = _fleet(chance, feed.servers)
    builds = [chance.choice(BUILDS) for _ in fleet]
    begin_ms = feed.end_ms - round((feed.whole or feed.count) * feed.step_ms)
    second, date = -1, ""
    for number in range(feed.count):
        index = chance.randrange(len(fleet))
        if chance.random() < CHANGE_SHARE:
            builds[index] = chance.choice(BUILDS)
        server, build = fleet[index], builds[index]
        observed_at = begin_ms + int(number * feed.step_ms) - chance.randrange(LATEST_MS)
        if observed_at // 1000 != second:
            second = observed_at // 1000
            date = f"{datetime.fromtimestamp(second, UTC):%a, %d %b %Y %H:%M:%S} +0000"
        mark = f"{chance.getrandbits(128):032x}"
        yield (
            None if server.is_gateway else build,
            {
                "event_id": f"{mark[:8]}-{mark[8:12]}-{number:08d}",
                "observed_at": observed_at,
                "tenant_id": server.tenant_id,
                "connector_id": f"inbound-{server.tenant_id}",
                "connector_type": server.connector_type,
                "source_ip": server.address,
                "helo": server.host,
                "tls_subject": None,
                "message_id": f"<{mark[:12]}@{server.host}>",
                "received": _received(server, build, mark, date, chance.random() < 0.1),
                "outcome": "ACCEPTED",
                "recipients": 1,
            },
        )


def _received(server: _Server, build: Build, mark: str, date: str, is_plain: bool) -> list[str]:
    number, host = ".".join(map(str, build)), server.host
    inside = f"fe80::{mark[:4]}:{mark[4:8]}"
    store = f"from {host} ([{inside}]) by {host} ([{inside}%4]) with mapi id {number}; {date}"
    if server.is_gateway:
        queue = mark[:10].upper()
        return [f"from {host} ({host} [{server.inside}]) by {host} (Postfix) with ESMTPS id {queue}; {date}", store]
    head = f"from {host} ({server.address}) by {host} ({server.inside}) with Microsoft SMTP Server"
    if is_plain:
        return [f"{head} id {number} via Frontend Transport; {date}", store]
    return [f"{head} (version=TLS1_2, cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id {number}; {date}", store]
