"""Where the links of messages lead: made by whoever knows the public address of the report, and seals tokens."""

from __future__ import annotations

from typing import Protocol

from streams.notices.model import Destination, Message


class Links(Protocol):
    """Makes links; each is an https URL, and empty where there is no public address to lead to."""

    def page(self, destination: Destination, server: str | None = None) -> str:
        """Where the notices of a destination's tenant are shown, or a server of it."""

    def confirm(self, destination: Destination, message: Message) -> str:
        """The page that asks whether the destination is wanted: opening it changes nothing."""

    def unsubscribe(self, destination: Destination, message: Message) -> str:
        """What a POST ends the destination at, and a GET asks at (RFC 8058)."""
