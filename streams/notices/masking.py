"""Addresses as they are shown: that of a webhook is a secret, since many have a token in the path."""

from __future__ import annotations

from urllib.parse import urlsplit

from streams.notices.model import Destination, DestinationKind


def shown_address(destination: Destination) -> str:
    """An address for those who may see the destination: a mailbox as it is, of a URL only the host."""
    if destination.kind is DestinationKind.MAIL:
        return destination.address
    return _shown_url(destination.address)


def masked_address(destination: Destination) -> str:
    """An address for whoever has a link to it: enough to know one's own."""
    if destination.kind is not DestinationKind.MAIL:
        return _shown_url(destination.address)
    name, _, domain = destination.address.rpartition("@")
    return f"{name[:1]}…@{domain}"


def _shown_url(url: str) -> str:
    parts = urlsplit(url)
    rest = "/…" if parts.path not in ("", "/") or parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{rest}"
