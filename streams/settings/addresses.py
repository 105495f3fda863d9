"""Where a process listens: a UNIX socket or a TCP port, as settings write it."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final, NamedTuple

UNIX: Final = "unix:"
INET: Final = "inet:"
MAX_SOCKET_BYTES: Final = 107
"""Of a UNIX socket's path on Linux."""
RULE: Final = "must be unix:/PATH or HOST:PORT"

_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})")


class ListenAddress(NamedTuple):
    """The path of a UNIX socket, or a host and a port of TCP; port 0 is any free one."""

    path: str | None
    host: str = ""
    port: int = 0

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        """As settings write it."""
        if self.path is not None:
            return f"{UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> ListenAddress:
    """Read `unix:/PATH`, `HOST:PORT`, or `inet:HOST:PORT` as an MTA writes it.

    Raises:
        ValueError: it is none of them; the message is the rule.
    """
    if text.startswith(UNIX):
        path = text.removeprefix(UNIX)
        if not path.startswith("/") or "\0" in path:
            raise ValueError(RULE)
        if len(path.encode()) > MAX_SOCKET_BYTES:
            raise ValueError(f"the path of a UNIX socket has at most {MAX_SOCKET_BYTES} bytes")
        return ListenAddress(path)
    found = _HOST_PORT.fullmatch(text.removeprefix(INET))
    if found is None or int(found[3]) > 65535:
        raise ValueError(RULE)
    return ListenAddress(None, found[1] or found[2], int(found[3]))
