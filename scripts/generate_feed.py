"""Makes the sample feed: connections of many Exchange servers over some months, the same bytes for the same seed.

.venv/bin/python scripts/generate_feed.py --out examples/feed.jsonl
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

DAY_MS = 86_400_000
ADDRESSES = ("192.0.2", "198.51.100", "203.0.113")
OUTDATED_2016 = ("15.1.2507.39", "15.1.2507.35", "15.1.2308.27", "15.1.1713.5", "15.1.2507.55")
OUTDATED_2019 = ("15.2.1748.10", "15.2.1544.9", "15.2.1118.7", "15.2.1748.36")
OLD = {
    "2007": ("8.1.358.0", "8.3.298.1", "8.1.311.2"),
    "2010": ("14.3.266.1", "14.3.498.0"),
    "2013": ("15.0.1210.3", "15.0.1497.2", "15.0.1497.32"),
}
GOOD = {"2016": "15.1.2507.61", "2019": "15.2.1748.39", "SE": "15.2.2562.29"}
STORIES = (
    ("compliant", 0.22),
    ("fixed in time", 0.12),
    ("fixed too late", 0.10),
    ("never fixed", 0.20),
    ("half patched", 0.05),
    ("regression soon", 0.04),
    ("regression late", 0.03),
    ("falls silent", 0.05),
    ("comes back", 0.03),
    ("gateway", 0.06),
    ("exchange online", 0.03),
    ("smtpsvc", 0.02),
    ("no build", 0.03),
    ("contradictory", 0.02),
)


@dataclass(frozen=True)
class Server:
    """One server with its life: which build from which day on, and in which days it sends."""

    tenant: str
    host: str
    generation: str
    story: str
    builds: tuple[tuple[float, str], ...]
    silent: tuple[tuple[float, float], ...]
    address: str
    connector_type: str
    weight: float

    def build_on(self, day: float) -> str:
        """The build that runs on a day."""
        return [build for begins, build in self.builds if begins <= day][-1]

    def sends_on(self, day: float) -> bool:
        """Whether it sends on a day."""
        return not any(begins <= day < ends for begins, ends in self.silent)


def make_server(chance: random.Random, tenant: str, number: int, story: str, days: int) -> Server:
    """A server that lives through a story."""
    generation = chance.choice(("2016", "2016", "2019", "2019", "2010", "2013", "2007"))
    if story == "compliant":
        generation = chance.choice(("2016", "2019", "SE"))
    if story in ("half patched", "contradictory", "no build") or "fix" in story or "regression" in story:
        generation = chance.choice(("2016", "2016", "2019", "2013"))
    outdated = {"2016": OUTDATED_2016, "2019": OUTDATED_2019}.get(generation) or OLD.get(generation, ("",))
    bad = chance.choice(outdated)
    # Whoever runs 2013 or older is cured by an upgrade only.
    good = GOOD.get(generation, GOOD["SE"])
    builds: tuple[tuple[float, str], ...] = ((0, bad),)
    silent: tuple[tuple[float, float], ...] = ()
    fixed = chance.uniform(4, 28)
    match story:
        case "compliant":
            builds = ((0, good),)
        case "fixed in time":
            builds = ((0, bad), (fixed, good))
        case "fixed too late":
            builds = ((0, bad), (chance.uniform(35, 0.9 * days), good))
        case "half patched":
            newer = {"2016": "15.1.2507.55", "2019": "15.2.1748.36"}.get(generation, "15.0.1497.48")
            builds = ((0, bad), (fixed, newer))
        case "regression soon":
            builds = ((0, bad), (fixed, good), (fixed + chance.uniform(3, 25), bad))
        case "regression late":
            builds = ((0, bad), (fixed, good), (fixed + chance.uniform(33, 60), bad))
        case "falls silent":
            silent = ((chance.uniform(10, 60), days + 1),)
        case "comes back":
            begins = chance.uniform(10, 40)
            silent = ((begins, begins + chance.uniform(32, 50)),)
        case "exchange online":
            generation, builds = "Exchange Online", ((0, "15.20.9009.0"),)
        case _:
            pass
    suffix = f"{tenant}.example"
    host = f"mx{number}.{suffix}"
    if story == "exchange online":
        host = f"AM{number}PR01MB{chance.randrange(1000, 9999)}.eurprd01.prod.example.net"
    return Server(
        tenant=tenant,
        host=chance.choice((host, host, host.upper() if story != "gateway" else host)),
        generation=generation,
        story=story,
        builds=builds,
        silent=silent,
        address=f"{chance.choice(ADDRESSES)}.{chance.randrange(1, 255)}",
        connector_type=chance.choices(("ON_PREMISES", "PARTNER", "NONE"), (0.92, 0.05, 0.03))[0],
        weight=chance.choice((0.2, 1, 1, 2, 5)),
    )


def padded(build: str) -> str:
    """The notation of the store: 15.01.2507.039."""
    major, minor, line, update = build.split(".")
    return f"{major}.{int(minor):02d}.{line}.{int(update):03d}"


def received_lines(chance: random.Random, server: Server, build: str, at: datetime) -> list[str]:
    """The `Received` values of one message, topmost first."""
    date = at.strftime("%a, %d %b %Y %H:%M:%S +0000")
    client = f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(1, 255)}"
    inside = f"cas{chance.randrange(1, 4)}.corp.{server.tenant}.example"
    if server.story == "gateway":
        queue = f"{chance.randrange(16**10):010X}"
        product = chance.choice(
            (
                f"from {inside} ({inside} [{client}]) by {server.host} (Postfix) with ESMTPS id {queue}; {date}",
                f"from [{client}] (helo={inside}) by {server.host} with esmtps (TLS1.3) (Exim 4.96) id {queue}; {date}",
                f"from {inside} ({inside} [{client}]) by {server.host} (8.15.2/8.15.2) with ESMTP id {queue}; {date}",
            )
        )
        return [product, f"from {inside} ({client}) by {inside} ({client}) with mapi id 15.01.2507.039; {date}"]
    if server.story == "smtpsvc":
        return [f"from {inside} ([{client}]) by {server.host} with Microsoft SMTPSVC(6.0.3790.3959);  {date}"]
    if server.story == "no build" and chance.random() < 0.4:
        return []
    if server.story == "no build":
        return [f"from {inside} ([{client}]) by {server.host} ([{client}]) with mapi; {date}"]
    mapi = f"from {inside} ([{client}]) by {server.host} ([{client}]) with mapi id {padded(build)}; {date}"
    if server.story == "contradictory":
        smtp = f"from {inside} ({client}) by {server.host} ({client}) with Microsoft SMTP Server id 15.1.2106.2; {date}"
        store = f"from {inside} ([{client}]) by {server.host} ([{client}]) with mapi id 15.01.2106.013; {date}"
        return [smtp, store]
    head = f"from {inside} ({client}) by {server.host} ({client}) with Microsoft SMTP"
    old = server.generation in ("2007", "2010", "2013")
    cipher = chance.choice(("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "AES_256_CBC_SHA384"))
    tls = "(TLS)" if old else f"(version=TLS1_2,\r\n cipher=TLS_ECDHE_RSA_WITH_{cipher})"
    via = chance.choice(("", "", " via Frontend Transport", " via Mailbox Transport")) if not old else ""
    smtp = f"{head} Server {tls} id {build}{via}; {date}"
    shape = chance.random()
    if shape < 0.55:
        return [smtp]
    if shape < 0.70:
        return [f"{head}\r\n Server {tls} id\r\n {build}{via};\r\n {date}", mapi]
    if shape < 0.80:
        return [f"{head} Server id {build}{via}; {date}"]
    if shape < 0.90:
        return [mapi] if not old else [smtp]
    if shape < 0.94 and not old:
        return [f"from {inside} ({client}) by {server.host} ({client}) with ShadowRedundancy id {build}; {date}"]
    if shape < 0.943 and not old:
        return [f"from localhost by Pickup with Microsoft SMTP Server id {build}; {date}"]
    return [smtp, mapi]


def connection(chance: random.Random, server: Server, number: int, at_ms: int) -> dict[str, object]:
    """One connection as the feed has it."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    day = (at_ms - START_MS) / DAY_MS
    return {
        "event_id": f"c{number:06d}-{chance.randrange(16**8):08x}",
        "observed_at": at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z",
        "tenant_id": server.tenant,
        "connector_id": f"inbound-{server.tenant}",
        "connector_type": server.connector_type,
        "source_ip": server.address,
        "helo": server.host.lower(),
        "tls_subject": f"CN={server.host.lower()}" if chance.random() < 0.7 else None,
        "message_id": f"<{chance.randrange(16**12):012x}@{server.tenant}.example>" if chance.random() < 0.95 else None,
        "received": received_lines(chance, server, server.build_on(day), at),
        "outcome": chance.choices(("ACCEPTED", "DEFERRED", "REJECTED", None), (0.93, 0.03, 0.01, 0.03))[0],
        "recipients": 1 + int(chance.expovariate(1)),
    }


START_MS = 1_780_272_000_000
"""2026-06-01T00:00:00Z."""


def malformed(good: dict[str, object]) -> list[str]:
    """What a bus delivers on a bad day, made from a good record."""
    whole = json.dumps(good)
    changes: list[dict[str, object]] = [
        {"tenant_id": None},
        {"tenant_id": ""},
        {"tenant_id": "tenant/1"},
        {"observed_at": "yesterday"},
        {"observed_at": "9999-12-31T23:59:59.999Z"},
        {"observed_at": "1970-01-01T00:00:00.000Z"},
        {"received": "from nowhere"},
        {"recipients": "three"},
        {"connector_type": "SIDEWAYS"},
    ]
    return ["not a record", whole[: len(whole) // 2], f"[{whole}]", *(json.dumps(good | change) for change in changes)]


def generate(seed: int, tenants: int, servers: int, connections: int, days: int) -> Iterator[str]:
    """The lines of a feed."""
    chance = random.Random(seed)
    stories = [name for name, share in STORIES for _ in range(max(1, round(share * servers)))]
    chance.shuffle(stories)
    stories += ["never fixed"] * (servers - len(stories))
    fleet = [
        make_server(chance, f"tenant-{number % tenants:03d}", number // tenants + 1, stories[number], days)
        for number in range(servers)
    ]
    moments = []
    weights = [server.weight for server in fleet]
    # Everyone is seen on the first day, then by weight and with a daily rhythm.
    for index in range(connections):
        server = fleet[index] if index < servers else chance.choices(fleet, weights)[0]
        day = 0.0 if index < servers else chance.randrange(days)
        hour = min(max(chance.gauss(12, 4.5), 0), 23.99)
        at = START_MS + round((day + hour / 24) * DAY_MS) + chance.randrange(1000)
        if server.sends_on((at - START_MS) / DAY_MS):
            moments.append((at, index, server))
    moments.sort(key=lambda item: item[:2])
    late: list[tuple[int, str]] = []
    bad: list[str] = []
    for number, (at, _, server) in enumerate(moments):
        record = connection(chance, server, number, at)
        line = json.dumps(record)
        bad = bad or malformed(record)
        while late and late[0][0] <= number:
            yield late.pop(0)[1]
        if chance.random() < 0.01:
            late.append((number + chance.randrange(3, 60), line))
            late.sort()
            continue
        yield line
        if chance.random() < 0.005:
            late.append((number + chance.randrange(1, 200), line))
            late.sort()
        if number % (len(moments) // len(bad) + 1) == 100 % len(moments):
            yield bad[number // (len(moments) // len(bad) + 1)]
    for _, line in late:
        yield line


def main() -> None:
    """Write a feed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--tenants", type=int, default=48)
    parser.add_argument("--servers", type=int, default=264)
    parser.add_argument("--connections", type=int, default=33_000)
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument("--out", type=Path, default=Path("examples/feed.jsonl"))
    options = parser.parse_args()
    lines = generate(options.seed, options.tenants, options.servers, options.connections, options.days)
    options.out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
