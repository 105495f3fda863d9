"""The server that a path names, exactly: routing joins slashes and decodes escapes more than once."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

from litestar import Request

from streams.domain.exchange.names import canonical_server

_FOLDER = "/servers/"


def server_in_path(request: Request[Any, Any, Any]) -> str:
    """The name in the path of a request, behind `/servers/`, in the form of records."""
    raw = request.scope["raw_path"].decode("latin-1").partition("?")[0]
    return canonical_server(unquote(raw.partition(_FOLDER)[2], errors="replace"))


def path_of_server(server: str) -> str:
    """The path of a server's name behind whatever serves servers."""
    return _FOLDER + quote(server, safe=":")
