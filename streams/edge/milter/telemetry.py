"""Whom the milter tells what happens to it; what it answers is told by the door."""

from __future__ import annotations

from typing import Protocol

from streams.listening import ConnectionTelemetry


class MilterTelemetry(ConnectionTelemetry, Protocol):
    """What a milter counts."""

    def protocol_error(self, reason: str) -> None:
        """An MTA did not speak the protocol, and its connection was closed."""

    def unattributed(self, reason: str) -> None:
        """A client cannot be told from what the MTA says of it; its mail is accepted."""
