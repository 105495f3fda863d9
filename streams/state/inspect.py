"""What the rows of the state hold, for whoever reads them from outside of a worker. Which there are: see `keys`."""

from __future__ import annotations

from typing import Any

from streams.engine.ports import StateStore, StoreError
from streams.state.keys import parse_server_key, parse_timer_key
from streams.state.row_format import STATE_FORMAT
from streams.state.server_row import decode_state
from streams.state.tenant_row import decode_tenant
from streams.wire.records import to_json, to_record

_OF_TENANTS = (b"s/", b"t/", b"f/", b"v/", b"w/", b"x/")

_SWEEPS = {b"v/": "put-off change", b"w/": "sweep", b"x/": "swept server"}


def tenant_of(key: bytes) -> str | None:
    """The tenant whose row this is; None for a row of the partition itself.

    Raises:
        StoreError: unknown to this version.
    """
    if key.startswith(_OF_TENANTS):
        return key[2:].partition(b"/")[0].decode()
    if key.startswith(b"d/"):
        return parse_timer_key(key)[1].tenant_id
    if key.startswith((b"p/", b"\0")):
        return None
    raise StoreError(f"state row {key[:60]!r}: unknown to this version")


def format_of(store: StateStore) -> int | None:
    """The format of the first state; None where there is none."""
    for prefix in (b"s/", b"t/"):
        for _, value in store.scan(prefix, prefix[:1] + b"0"):
            return value[0] if value else -1
    return None


def shown_row(key: bytes, value: bytes) -> dict[str, Any] | None:
    """A row as JSON has it, with what it is about; None for one of the due index, which `due_at` tells as well.

    Raises:
        StoreError: the format is unknown.
    """
    tenant_id = tenant_of(key)
    if tenant_id is None:
        name = key.lstrip(b"\0").decode()
        return {"row": "partition", "name": name, "value": value.decode("utf-8", "replace")}
    about: dict[str, Any] = {"row": "", "format": STATE_FORMAT, "tenant_id": tenant_id}
    if key.startswith(b"s/"):
        state, due_at = decode_state(value)
        content = to_record(state) | {"recent_events": state.recent_events.hex()}
        return {**about, "row": "server", "server": state.server, **to_json({"due_at": due_at, "state": content})}
    if key.startswith(b"t/"):
        tenant, due_at = decode_tenant(value)
        content = to_record(tenant)
        for name in ("server_pauses", "exceptions"):
            content[name] = {server: to_record(rows) for server, rows in content[name].items()}
        content["used"] = {str(year): to_record(use) for year, use in content["used"].items()}
        return {**about, "row": "tenant", **to_json({"due_at": due_at, "state": content})}
    if key.startswith(b"f/"):
        return {**about, "row": "forgotten", "server": parse_server_key(key).server, "revision": int(value)}
    if key.startswith((b"v/", b"w/", b"x/")):
        rest = key[2:].decode().partition("/")[2]
        return {**about, "row": _SWEEPS[key[:2]], "name": rest or None, "value": value.decode("utf-8", "replace")}
    return None
