"""Servers that were found vulnerable long ago: a policy for it, their history, and names by minutes of the hour."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from importlib.resources import files
from itertools import count
from pathlib import Path

from streams.domain.edge import hour_offset
from streams.domain.keys import ServerKey
from streams.domain.time import DAY_MS, MINUTE_MS, iso
from tests.support.mail import OLD

BLOCKED_DAYS = 91
"""A server that is known for so long is blocked all the time."""
SHIPPED = "microsoft-2026-09"
_WEEK_MS = 7 * DAY_MS
_numbers = count(1)


def now_ms() -> int:
    """Now, in UTC milliseconds."""
    return time.time_ns() // 1_000_000


def write_policy(folder: Path) -> Path:
    """The shipped policy as if it had been in force for years, so that a history may begin before its real date."""
    text = (files("streams.policies.data") / "policies" / f"{SHIPPED}.yaml").read_text("utf-8")
    text, dates = re.subn(r"(?m)^effective_at: .*$", "effective_at: 2024-06-01T00:00:00Z", text)
    text, names = re.subn(r"(?m)^policy_id: .*$", "policy_id: in-force-since-2024", text)
    assert (dates, names) == (1, 1)
    path = folder / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def history(tenant: str, host: str, days: int, address: str = "192.0.2.1", build: str = OLD) -> Iterator[bytes]:
    """A connection a week of a server since it was first seen so many days ago, as lines of a feed."""
    now = now_ms()
    for at in range(now - days * DAY_MS, now - MINUTE_MS, _WEEK_MS):
        received = f"from {host} ({address}) by {host} ({address}) with Microsoft SMTP Server id {build}; "
        record = {
            "event_id": f"history-{host}-{at}",
            "observed_at": iso(at),
            "tenant_id": tenant,
            "connector_id": "history",
            "connector_type": "ON_PREMISES",
            "source_ip": address,
            "helo": host,
            "received": [received + "Mon, 1 Jun 2026 00:00:00 +0000"],
        }
        yield json.dumps(record).encode()


def new_host() -> str:
    """A name that no other server has."""
    return f"mx{next(_numbers)}.example.com"


def host_in_minutes(tenant: str, first: int, last: int, at: int | None = None) -> str:
    """A new name whose place in the hour of affected minutes is from `first` to `last`, now or at a moment.

    With `last` well before the end of what is wanted, a test has the minutes in between to send its mail.
    """
    minute = (now_ms() if at is None else at) // MINUTE_MS
    while True:
        host = new_host()
        if first <= (minute - hour_offset(ServerKey(tenant, host))) % 60 <= last:
            return host
