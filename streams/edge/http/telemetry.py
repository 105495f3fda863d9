"""What the HTTP door counts; the door itself counts its answers."""

from __future__ import annotations

from typing import Protocol

from streams.listening import ConnectionTelemetry


class HttpTelemetry(ConnectionTelemetry, Protocol):
    """What the HTTP door counts."""

    def refused(self, status: int) -> None:
        """A request was refused, with this HTTP status."""
