"""The names under which a worker counts what it did; see `UnitMetrics`."""

from __future__ import annotations

from typing import Final

CONNECTIONS: Final = "connections"
VERDICTS: Final = "verdicts"
NOTIFICATIONS: Final = "notifications"
COMMANDS: Final = "commands"
