"""State rows: they are the service's own, so all that is asked is that another format stops the worker by name."""

from __future__ import annotations

from streams.engine.ports import StoreError
from streams.state.row_format import STATE_FORMAT
from streams.state.server_row import decode_state
from streams.state.tenant_row import decode_tenant


def check(data: bytes) -> None:
    """Every unknown format byte is refused as such."""
    if not data or data[0] == STATE_FORMAT:
        return
    for decode in (decode_state, decode_tenant):
        try:
            decode(data)
        except StoreError:
            continue
        raise AssertionError(f"format {data[0]} was read")
