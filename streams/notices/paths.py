"""Where the report has the pages that messages lead to: one room serves them, another writes the links."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

PAGE: Final = "/notices"
CONFIRM: Final = "/notices/confirm"
"""Asks somebody whether they want to be told; a POST says yes."""
UNSUBSCRIBE: Final = "/notices/unsubscribe"
"""Asks somebody whether they want no more; a POST says so, also one of a mail program (RFC 8058)."""
TOKEN: Final = "token"
"""The parameter with the token; in the query, so that no log of paths has one."""


def confirm_path(token: str) -> str:
    """Where a token of `Purpose.CONFIRM` is answered."""
    return f"{CONFIRM}?{TOKEN}={quote(token, safe='')}"


def unsubscribe_path(token: str) -> str:
    """Where a token of `Purpose.UNSUBSCRIBE` is answered."""
    return f"{UNSUBSCRIBE}?{TOKEN}={quote(token, safe='')}"


def destination_path(destination_id: str) -> str:
    """Where a destination is shown to those who may see it."""
    return f"{PAGE}/destinations/{quote(destination_id, safe='')}"


def server_path(server: str) -> str:
    """Where a server of the reader's tenant is shown."""
    return f"/servers/{quote(server, safe='')}"
