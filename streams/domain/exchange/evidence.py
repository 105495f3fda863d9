"""The message that showed a build."""

from __future__ import annotations

from typing import NamedTuple


class Evidence(NamedTuple):
    """Which message showed the build that is believed, and where in it; `observed_at` in UTC milliseconds."""

    received: str | None
    position: int | None
    protocol: str | None
    event_id: str
    message_id: str | None
    connector_id: str
    source_ip: str
    observed_at: int
