"""The comparable job: detect, judge against a floor, keep a state per server, write a verdict when it changes.

It is what every engine here can do; the shipped worker does it and all the rest of the rules. The schema of the input
is the product's own.
"""

from __future__ import annotations

import json
import re
import struct
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from fastavro import parse_schema, schemaless_reader, schemaless_writer

FLOOR = (15, 1, 2507, 61)
PARTITIONS = 4
HEADER_BYTES = 5
STATE = struct.Struct(">qqqB")
"""First seen, last seen (UTC milliseconds), connections, below the floor; the build follows as text."""
LINGER_SECONDS = 600
"""An engine that is done waits for its end, so that its figures can be read from the system."""
INPUT_SCHEMA_FILE = Path(__file__).parents[2] / "schemas" / "inbound_connection.avsc"
VERDICT_SCHEMA = {
    "type": "record",
    "name": "PeerVerdict",
    "fields": [
        {"name": "tenant_id", "type": "string"},
        {"name": "server", "type": "string"},
        {"name": "build", "type": "string"},
        {"name": "below_floor", "type": "boolean"},
        {"name": "observed_at", "type": "long"},
        {"name": "event_id", "type": "string"},
    ],
}
_VERDICT_HEADER = b"\0" + struct.pack(">I", 999)


def _without_logical_types(schema: Any) -> Any:
    """A moment stays the integer that it is: no engine may pay for a datetime that no one asked for."""
    if isinstance(schema, list):
        return [_without_logical_types(item) for item in schema]
    if isinstance(schema, dict):
        return {name: _without_logical_types(item) for name, item in schema.items() if name != "logicalType"}
    return schema


_INPUT = parse_schema(_without_logical_types(json.loads(INPUT_SCHEMA_FILE.read_text(encoding="utf-8"))))
_VERDICT = parse_schema(VERDICT_SCHEMA)
_BUILD = re.compile(r"with Microsoft SMTP Server(?: \([^)]*\))? id (\d+)\.(\d+)\.(\d+)\.(\d+)")


def decode(value: bytes) -> dict[str, Any]:
    """The connection in a record's value."""
    if value[0] != 0:
        raise ValueError(f"first byte is {value[0]}, must be 0")
    body = BytesIO(value)
    body.seek(HEADER_BYTES)
    record: Any = schemaless_reader(body, _INPUT, None)
    return dict(record)


def encode_verdict(verdict: dict[str, Any]) -> bytes:
    """The value of a verdict."""
    out = BytesIO()
    out.write(_VERDICT_HEADER)
    schemaless_writer(out, _VERDICT, verdict)
    return out.getvalue()


def decode_verdict(value: bytes) -> dict[str, Any]:
    """The verdict in a record's value."""
    record: Any = schemaless_reader(BytesIO(value[HEADER_BYTES:]), _VERDICT, None)
    return dict(record)


def key_of(connection: dict[str, Any]) -> str:
    """The server that a connection comes from."""
    return f"{connection['tenant_id']}/{connection['helo']}"


def build_of(connection: dict[str, Any]) -> tuple[str, bool] | None:
    """The build that the topmost line shows, and whether it is below the floor; None without one."""
    found = _BUILD.search(connection["received"][0])
    if found is None:
        return None
    build = tuple(map(int, found.groups()))
    return "{}.{}.{}.{}".format(*build), build < FLOOR


def apply(state: list[Any] | None, connection: dict[str, Any]) -> tuple[list[Any], bool]:
    """The server's state after a connection, and whether its verdict changed.

    A state is first seen, last seen, connections, build, below the floor.
    """
    at = connection["observed_at"]
    before: tuple[Any, Any] | None
    if state is None:
        state, before = [at, at, 0, "", False], None
    else:
        before = state[3], state[4]
    state[1] = max(state[1], at)
    state[2] += 1
    found = build_of(connection)
    if found is not None:
        state[3], state[4] = found
    return state, before != (state[3], state[4])


def verdict_of(connection: dict[str, Any], state: list[Any]) -> dict[str, Any]:
    """The verdict about a server after a connection."""
    return {
        "tenant_id": connection["tenant_id"],
        "server": connection["helo"],
        "build": state[3],
        "below_floor": state[4],
        "observed_at": connection["observed_at"],
        "event_id": connection["event_id"],
    }


class Progress:
    """Prints marks for the race: `BEGIN`, `AT` and `END`, each with events, wall clock and CPU seconds so far."""

    def __init__(self, every: int) -> None:
        self._count, self._every, self._next, self._has_begun = 0, every, every, False

    def begin(self) -> None:
        """Mark the first event that reached the engine's code."""
        if not self._has_begun:
            self._has_begun = True
            self._mark("BEGIN")

    def add(self, events: int = 1) -> None:
        """Count processed events."""
        if not self._has_begun:
            self.begin()
        self._count += events
        if self._count >= self._next:
            self._mark("AT")
            self._next += self._every * ((self._count - self._next) // self._every + 1)

    def end(self) -> None:
        """Mark the end of an engine that ends by itself, and wait for the race to end the process."""
        self._mark("END")
        time.sleep(LINGER_SECONDS)

    def _mark(self, name: str) -> None:
        print(f"{name} {self._count} {time.time():.4f} {time.process_time():.4f}", flush=True)


class Arguments:
    """What the race passes to an engine: bootstrap, topics, group, its own folder, the length of the feed, options."""

    def __init__(self, argv: list[str] | None = None) -> None:
        values = sys.argv[1:] if argv is None else argv
        self.bootstrap, self.topic, self.output, self.group, self.folder = values[:5]
        self.total = int(values[5])
        self.options = dict(option.split("=", 1) for option in values[6:])
        self.progress = Progress(max(1, self.total // 40))
