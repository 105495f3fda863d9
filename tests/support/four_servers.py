"""Seeded connections of four servers, some of which change their build."""

from __future__ import annotations

import random
from typing import Any

from streams.domain.time import HOUR_MS
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.fast_headers import fast_headers
from streams.wire.records import parse_moment
from streams.wire.registry import LocalRegistry
from streams.worker.wiring import record_channels

START = parse_moment("start", "2026-10-01T20:00:00Z")
SETTINGS = Settings()
WIRES, HEADER = record_channels(SETTINGS), fast_headers(LocalRegistry())
BUILDS = ("15.1.2507.39", "15.1.2507.61", "14.3.123.4", None)
CODEC = AvroCodec("inbound_connection", LocalRegistry())


def connection(chance: random.Random, number: int, at: int, swing: float) -> dict[str, Any]:
    tenant, host = f"t{chance.randrange(2)}", f"mx{chance.randrange(2)}.example.com"
    build = chance.choice(BUILDS) if chance.random() < swing else BUILDS[int(host[2])]
    stamp = f"with Microsoft SMTP Server id {build}" if build else "with ESMTPS id 4Xq"
    lines = [f"from a by {host} {stamp}; Thu, 1 Oct 2026 20:00:{number % 60:02} +0000"]
    if chance.random() < 3 * swing:
        lines.append(f"from b by {host} with mapi id 15.01.2507.0{chance.choice((12, 39))}; Thu, 1 Oct 2026 +0000")
    return {
        "observed_at": at,
        "connector_type": "PARTNER" if chance.random() < 0.05 else "ON_PREMISES",
        "tenant_id": tenant,
        "received": lines,
        "event_id": f"e{number}" if chance.random() < 0.97 else "e1",
        "connector_id": chance.choice(("c1", "c2")),
        "source_ip": chance.choice(("192.0.2.1", "192.0.2.2")),
        "helo": "h",
        "tls_subject": None,
        "message_id": f"<{number}@example.com>",
        "outcome": chance.choice(("ACCEPTED", "DEFERRED", "REJECTED", None)),
        "recipients": 1,
        "refused_before": 0,
    }


def feed(seed: int, count: int, step: int, swing: float = 0.1, start: int = START) -> list[dict[str, Any]]:
    """Connections of four servers; `swing` is the share of those that show any build."""
    chance = random.Random(seed)
    rows, at = [], start
    for number in range(count):
        at += chance.randrange(step)
        late = chance.randrange(HOUR_MS) if chance.random() < 0.1 else 0
        rows.append(connection(chance, number, at - late, swing))
        if chance.random() < 0.05:
            rows.append(rows[-1])
    return rows
