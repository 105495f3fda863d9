"""Addresses as they are shown: that of a webhook is a secret, since many have a token in the path."""

from __future__ import annotations

from urllib.parse import urlsplit

from streams.notices.model import Destination, DestinationKind


def shown_address(destination: Destination) -> str:
    """An address for those who may see the destination: a mailbox as it is, of a URL only the host.

    Of an address of Apprise only the service: where others have a host, many have a key.
    """
    if destination.kind is DestinationKind.MAIL:
        return destination.address
    return _shown(destination)


def masked_address(destination: Destination) -> str:
    """An address for whoever has a link to it: enough to know one's own."""
    if destination.kind is not DestinationKind.MAIL:
        return _shown(destination)
    name, _, domain = destination.address.rpartition("@")
    return f"{name[:1]}…@{domain}"


def _shown(destination: Destination) -> str:
    url = destination.address
    if destination.kind is DestinationKind.APPRISE:
        return f"{url.partition('://')[0]}://…"
    parts = urlsplit(url)
    rest = "/…" if parts.path not in ("", "/") or parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{rest}"
