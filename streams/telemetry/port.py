"""What a worker tells its telemetry: the names under which it counts."""

from __future__ import annotations

from typing import Final

CONNECTIONS: Final = "connections"
VERDICTS: Final = "verdicts"
NOTIFICATIONS: Final = "notifications"
COMMANDS: Final = "commands"
