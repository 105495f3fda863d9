"""The keys of the state's rows: each kind begins with a letter of its own."""

from __future__ import annotations

import struct
from typing import Final

from streams.domain.keys import ServerKey

_DUE: Final = struct.Struct(">q")
POLICIES_KEY: Final = b"p/policies"
PROGRESS_KEY: Final = b"p/progress"
SWEEPS_RANGE: Final = (b"w/", b"w0")
"""Between which keys the rows of `sweep_key` stand."""
NUMBER_DIGITS: Final = 12
"""Of the number at the end of a `put_off_key`."""


def raw_server_key(tenant_id: bytes, server: bytes) -> bytes:
    """The row of a server, of names as they stand in a record."""
    return b"s/" + tenant_id + b"/" + server


def server_key(key: ServerKey) -> bytes:
    """The row of a server."""
    return b"s/" + key.topic_key()


def parse_server_key(row: bytes) -> ServerKey:
    """The server whose row it is, or whose tombstone."""
    return ServerKey.parse(row[2:])


def servers_range(tenant_id: str) -> tuple[bytes, bytes]:
    """Between which keys the rows of a tenant's servers stand; their names follow the first of the two."""
    start = server_key(ServerKey(tenant_id, ""))
    return start, start[:-1] + b"0"


def tenant_key(tenant_id: str) -> bytes:
    """The row of a tenant."""
    return b"t/" + tenant_id.encode()


def tombstone_key(key: ServerKey) -> bytes:
    """The row of a server that was forgotten."""
    return b"f/" + key.topic_key()


def timer_key(due: int, key: ServerKey) -> bytes:
    """The row of the due index."""
    return b"d/" + _DUE.pack(due) + b"/" + key.topic_key()


def timers_due_range(moment: int) -> tuple[bytes, bytes]:
    """Between which keys the rows due at or before `moment` stand."""
    return b"d/", b"d/" + _DUE.pack(moment + 1)


def parse_timer_key(row: bytes) -> tuple[int, ServerKey]:
    """Due moment and server of a row of the due index."""
    return _DUE.unpack_from(row, 2)[0], ServerKey.parse(row[11:])


def sweep_key(tenant_id: str) -> bytes:
    """The row of how far the pass over a tenant's servers has come."""
    return f"w/{tenant_id}".encode()


def put_off_key(tenant_id: str, number: int) -> bytes:
    """The row of a tenant's change that its servers have not all had."""
    return f"v/{tenant_id}/{number:012}".encode()


def swept_server_key(key: ServerKey) -> bytes:
    """The row of the last change of a server that has had more than its name tells."""
    return b"x/" + key.topic_key()
