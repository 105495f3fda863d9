"""The race's feed: connections of many Exchange servers within some minutes, the same for the same seed.

Each connection comes with the build that it really shows, so that what an engine reads out of it can be checked without
trusting any reader.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
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
    """Which feed: `whole` is the length that it is a part of, `end_ms` the moment of the whole's last connection (UTC).

    `first` is the number of its own first connection in the whole. Servers connect equally often, or with `is_skewed`
    in inverse proportion to their number (Zipf's law), as most mail comes from few servers.
    """

    count: int
    servers: int
    end_ms: int
    whole: int = 0
    first: int = 0
    is_skewed: bool = False

    @property
    def step_ms(self) -> float:
        """Time between two connections."""
        return min(STEP_MS, SPAN_MS / (self.whole or self.count))

    def beginning(self, count: int) -> Feed:
        """The same connections, the first `count` of them only."""
        return Feed(count, self.servers, self.end_ms, self.whole or self.count)


@dataclass(frozen=True, slots=True)
class Server:
    """One of the servers that connect."""

    tenant_id: str
    host: str
    address: str
    inside: str
    connector_type: str
    is_gateway: bool


class Fleet:
    """The servers of a feed and the build that each runs now; the next part of a feed goes on with them."""

    def __init__(self, count: int) -> None:
        self.chance = random.Random(SEED)
        self._tenants = max(1, round(count * TENANTS_PER_SERVER))
        self.servers = [self._server(number) for number in range(count)]
        self.builds = [self.chance.choice(BUILDS) for _ in self.servers]

    def _server(self, number: int) -> Server:
        tenant, place, chance = number % self._tenants, number // self._tenants + 1, self.chance
        kind = "PARTNER" if number % 20 == 18 else "NONE" if number % 20 == 19 else "ON_PREMISES"
        address = f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(1, 255)}"
        host = f"ex{place:02d}.mail.t{tenant:06d}.example.net"
        inside = f"10.{number % 250}.0.{number % 7 + 1}"
        return Server(f"tenant-{tenant:06d}", host, address, inside, kind, number % 100 == 57)

    def number_of(self, tenant_id: str, host: str) -> int:
        """The number of a server."""
        return int(tenant_id.removeprefix("tenant-")) + (int(host[2 : host.index(".")]) - 1) * self._tenants

    def chosen(self, is_skewed: bool) -> Iterator[int]:
        """The numbers of the servers that connect, one after the other, for ever."""
        chance, numbers = self.chance, range(len(self.servers))
        if not is_skewed:
            while True:
                yield chance.randrange(len(numbers))
        weights = list(accumulate(1 / (number + 1) for number in numbers))
        while True:
            yield chance.choices(numbers, cum_weights=weights)[0]


def connections(feed: Feed, fleet: Fleet | None = None) -> Iterator[tuple[Build | None, dict[str, Any]]]:
    """The connections of a feed, each with the build it shows; None where it shows none."""
    fleet = fleet or Fleet(feed.servers)
    chance, builds = fleet.chance, fleet.builds
    begin_ms = feed.end_ms - round((feed.whole or feed.count) * feed.step_ms)
    numbers = range(feed.first, feed.first + feed.count)
    for number, index in zip(numbers, fleet.chosen(feed.is_skewed), strict=False):
        if chance.random() < CHANGE_SHARE:
            builds[index] = chance.choice(BUILDS)
        server, build = fleet.servers[index], builds[index]
        observed_at = begin_ms + int(number * feed.step_ms) - chance.randrange(LATEST_MS)
        yield None if server.is_gateway else build, connection(server, build, observed_at, number, chance)


def connection(server: Server, build: Build, observed_at: int, number: int, chance: random.Random) -> dict[str, Any]:
    """One connection of a server that runs a build."""
    mark = f"{chance.getrandbits(128):032x}"
    return {
        "event_id": f"{mark[:8]}-{mark[8:12]}-{number:08d}",
        "observed_at": observed_at,
        "tenant_id": server.tenant_id,
        "connector_id": f"inbound-{server.tenant_id}",
        "connector_type": server.connector_type,
        "source_ip": server.address,
        "helo": server.host,
        "tls_subject": None,
        "message_id": f"<{mark[:12]}@{server.host}>",
        "received": _received(server, build, mark, _date_of(observed_at // 1000), chance.random() < 0.1),
        "outcome": "ACCEPTED",
        "recipients": 1,
        "refused_before": 0,
    }


@lru_cache(maxsize=8)
def _date_of(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%a, %d %b %Y %H:%M:%S} +0000"


def _received(server: Server, build: Build, mark: str, date: str, is_plain: bool) -> list[str]:
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
