"""Listens at an address of this machine, and accepts connections there."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

BACKLOG: Final = 1024


class Address(Protocol):
    """The path of a UNIX socket, or a host and a port of TCP."""

    @property
    def path(self) -> str | None:
        """None for TCP."""

    @property
    def host(self) -> str:
        """A name or an address."""

    @property
    def port(self) -> int:
        """0 is any free one."""


class ConnectionTelemetry(Protocol):
    """Who counts the connections of a door."""

    def opened(self) -> None:
        """An MTA connected."""

    def closed(self) -> None:
        """A connection ended."""

    def turned_away(self) -> None:
        """A connection was closed at once: there are too many."""

    def failed(self, where: str, error: Exception) -> None:
        """The door's server is at fault; the message was accepted."""


class ListenError(OSError):
    """It is not possible to listen there; the message names the address, and why."""


class Listener:
    """A socket that listens, and the file that it has if it is a UNIX socket."""

    def __init__(self, sock: socket.socket, path: Path | None) -> None:
        self._socket = sock
        self._path, self._identity = path, None if path is None else _identity(path)
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self._socket.getsockname()[1])

    async def serve(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """Accept connections in the running event loop; `protocol` makes the protocol of each."""
        loop = asyncio.get_running_loop()
        serve = loop.create_server if self._path is None else loop.create_unix_server
        self._server = await serve(protocol, sock=self._socket)

    def close(self) -> None:
        """Accept no more, and remove the socket's file unless another process has put its own there."""
        if self._server is not None:
            self._server.close()
        if self._path is not None and _identity(self._path) == self._identity:
            self._path.unlink(missing_ok=True)
        self._socket.close()


def listen(address: Address, mode: int = 0o660) -> Listener:
    """Listen there; a UNIX socket gets the permissions `mode`, and takes the place of one that nobody serves.

    Raises:
        ListenError: the address is in use, is a file of another kind, or cannot be had.
    """
    try:
        return _listen_tcp(address) if address.path is None else _listen_unix(Path(address.path), mode)
    except ListenError:
        raise
    except OSError as error:
        raise ListenError(f"{address}: cannot listen there: {error.strerror or error}") from error


def _listen_tcp(address: Address) -> Listener:
    family, kind, protocol, _, target = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return Listener(_bound(listening, target), None)


def _listen_unix(path: Path, mode: int) -> Listener:
    _remove_stale(path)
    # Nobody may connect before the permissions are those that were asked for.
    before = os.umask(0o777)
    try:
        listening = _bound(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), str(path))
    finally:
        os.umask(before)
    path.chmod(mode)
    return Listener(listening, path)


def _bound(listening: socket.socket, target: str | tuple[object, ...]) -> socket.socket:
    try:
        listening.bind(target)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def _remove_stale(path: Path) -> None:
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise ListenError(f"unix:{path}: is a file that is no socket: remove it, or listen elsewhere")
    if _is_served(path):
        raise ListenError(f"unix:{path}: another process listens there")
    path.unlink(missing_ok=True)


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            # Its queue is full: a process that hangs is alive.
            return True
    return True


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
