"""Where the links of messages lead: made by whoever knows the public address of the report, and seals tokens."""

from __future__ import annotations

from typing import Protocol

from streams.notices.model import OPERATORS, Destination, Message
from streams.notices.paths import PAGE, confirm_path, server_path, unsubscribe_path


class Links(Protocol):
    """Makes links; each is an https URL, and empty where there is no public address to lead to."""

    def page(self, destination: Destination, server: str | None = None) -> str:
        """Where the notices of a destination's tenant are shown, or a server of it."""

    def confirm(self, destination: Destination, message: Message) -> str:
        """The page that asks whether the destination is wanted: opening it changes nothing."""

    def unsubscribe(self, destination: Destination, message: Message) -> str:
        """What a POST ends the destination at, and a GET asks at (RFC 8058)."""


class ReportLinks(Links):
    """Links to the pages of the report at its public address, with the tokens that messages have."""

    def __init__(self, public_url: str) -> None:
        """Lead to a report, such as https://HOST; to nothing where that is empty."""
        self._base = public_url.rstrip("/")

    def page(self, destination: Destination, server: str | None = None) -> str:
        """See `Links`; operators, who see all tenants, are led to all notices."""
        return self._to(server_path(server) if server and destination.tenant_id != OPERATORS else PAGE)

    def confirm(self, destination: Destination, message: Message) -> str:
        """See `Links`."""
        return self._to(confirm_path(message.token)) if message.token else ""

    def unsubscribe(self, destination: Destination, message: Message) -> str:
        """See `Links`."""
        return self._to(unsubscribe_path(message.token)) if message.token else ""

    def _to(self, path: str) -> str:
        return self._base + path if self._base else ""
