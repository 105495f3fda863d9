"""The statuses of servers in the order in which they need action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streams.domain.outputs.server_report import ServerStatus

URGENCY: Final[Mapping[str, int]] = {
    ServerStatus.BLOCKED: 0,
    ServerStatus.THROTTLED: 1,
    ServerStatus.MIXED: 2,
    ServerStatus.REPORTED: 3,
    ServerStatus.UNDETERMINED: 4,
    ServerStatus.PAUSED: 5,
    ServerStatus.EXEMPT: 6,
    ServerStatus.VANISHED: 7,
    ServerStatus.RESOLVED: 8,
    ServerStatus.COMPLIANT: 9,
    ServerStatus.NOT_EXCHANGE: 10,
    ServerStatus.OUT_OF_SCOPE: 11,
}
"""Stored with each server, so a number keeps its status; each status has one of its own."""
OTHER_URGENCY: Final = 99
"""Of a status that this version does not know."""
NEEDS_ACTION: Final = (ServerStatus.BLOCKED, ServerStatus.THROTTLED, ServerStatus.MIXED, ServerStatus.REPORTED)
