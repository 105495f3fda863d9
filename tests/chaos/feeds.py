"""Feeds and commands of the scenarios, as JSON lines; the same specification gives the same lines in any process."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from streams.domain.time import DAY_MS, iso
from tests.support.feeds import BUILDS, START, UNTIL, make_commands, make_feed

BACKLOG_UNTIL = START + 3 * DAY_MS
"""Behind the last connection of a backlog; the timers of its servers are not what it is about."""
__all__ = ["BACKLOG_UNTIL", "FLOOD_PER_MS", "START", "UNTIL", "Feed", "feed_of", "lines"]

RECENT_STEP_MS = 20
"""Between two connections of a recent feed: ten thousand of them fit into the hour before any timer is due."""
FLOOD_PER_MS = 100
"""Connections of a flood in a millisecond: a live worker takes millions of them before any timer is due."""
BACKLOG_SERVERS = 2_000
WIDE_SERVERS = 900
"""Their rows fill many blocks of a table."""


@dataclass(frozen=True, slots=True)
class Feed:
    """What is produced: `kind` names the generator, `count` is about how many lines.

    `base_ms` is the moment of the first connection of a `recent` feed or a `flood`; the others cover days of a fixed
    year.
    `step_ms` is between two connections of a `backlog` or a `wide` feed; a `flood` has `FLOOD_PER_MS` in each.
    `part` of `parts` is which share of its days a `mixed` feed or its `commands` cover.
    """

    kind: str
    seed: int
    count: int
    base_ms: int = START
    step_ms: int = 10
    part: int = 0
    parts: int = 1

    def spec(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def feed_of(spec: dict[str, Any]) -> Feed:
    """The feed of a `Feed.spec`."""
    return Feed(**spec)


def lines(feed: Feed) -> Iterator[bytes]:
    """The lines in the order in which they are produced."""
    match feed.kind:
        case "mixed":
            yield from make_feed(feed.seed, feed.count, (feed.part, feed.parts))
        case "commands":
            yield from make_commands(feed.seed, feed.count, (feed.part, feed.parts))
        case "poison":
            yield from _poisoned(feed)
        case "recent":
            yield from _recent(feed)
        case "backlog":
            yield from _backlog(feed, BACKLOG_SERVERS, lambda number: number * feed.step_ms)
        case "flood":
            yield from _backlog(feed, BACKLOG_SERVERS, lambda number: number // FLOOD_PER_MS)
        case "wide":
            yield from _backlog(feed, WIDE_SERVERS, lambda number: number * feed.step_ms)
        case _:
            raise ValueError(f"kind: {feed.kind!r}: must be mixed, commands, poison, recent, backlog, flood or wide")


def _poisoned(feed: Feed) -> Iterator[bytes]:
    """Every other line, on average, is one that must be refused."""
    chance = random.Random(feed.seed)
    for line in make_feed(feed.seed, feed.count // 2):
        while chance.random() < 0.5:
            yield _bad(chance, line)
        yield line


def _bad(chance: random.Random, line: bytes) -> bytes:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line
    wrong: dict[str, Any] = chance.choice(
        (
            {"observed_at": "1970-01-01T00:00:00.000Z"},
            {"observed_at": "9999-01-01T00:00:00.000Z"},
            {"tenant_id": ""},
            {"tenant_id": "tenant 1"},
            {"tenant_id": "t" * 65},
            {"event_id": ""},
            {"event_id": "e" * 300},
            {"received": None},
            {"recipients": "many"},
            {"connector_type": "SIDEWAYS"},
        )
    )
    match chance.randrange(3):
        case 0:
            return line[: chance.randrange(1, len(line))]
        case 1:  # the Confluent header, and then no record
            return bytes(5) + chance.randbytes(chance.randrange(1, 200)).replace(b"\n", b"")
        case _:
            return orjson.dumps({**record, **wrong})


def _connection(feed: Feed, number: int, at: int, tenant: int, host: str, build: str) -> bytes:
    return orjson.dumps(
        {
            "event_id": f"{feed.seed}-{number}",
            "observed_at": iso(at),
            "tenant_id": f"tenant-{tenant}",
            "connector_id": "inbound",
            "connector_type": "ON_PREMISES",
            "source_ip": "192.0.2.7",
            "helo": host,
            "received": [
                f"from a.example by {host} with Microsoft SMTP Server id {build}; Mon, 1 Jun 2026 00:00:00 +0000"
            ],
            "outcome": "ACCEPTED",
            "recipients": 1,
        }
    )


def _recent(feed: Feed) -> Iterator[bytes]:
    """Connections in strict order of time, all within minutes: no timer of a server comes up between them."""
    chance = random.Random(feed.seed)
    for number in range(feed.count):
        tenant = chance.randrange(40)
        host = f"mx{chance.randrange(20)}.tenant-{tenant}.example"
        at = feed.base_ms + number * RECENT_STEP_MS
        yield _connection(feed, number, at, tenant, host, chance.choice(BUILDS))


def _backlog(feed: Feed, servers: int, after_ms: Callable[[int], int]) -> Iterator[bytes]:
    """Many connections of servers that keep their build: what an ordinary day leaves behind."""
    builds = random.Random(feed.seed).choices(BUILDS, k=servers)
    chance = random.Random(feed.seed + 1)
    for number in range(feed.count):
        server = chance.randrange(servers)
        tenant = server % 50
        at = feed.base_ms + after_ms(number)
        yield _connection(feed, number, at, tenant, f"mx{server}.tenant-{tenant}.example", builds[server])
