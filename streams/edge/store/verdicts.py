"""The door's side of the verdicts: looks one up on disk, so there is nothing to load."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from streams.domain.edge import EdgeVerdict, Knowledge
from streams.domain.keys import ServerKey
from streams.edge.ports import UnreadableVerdictError
from streams.edge.store.database import (
    VERDICTS_FILE,
    VERSION_FILE,
    Identity,
    format_of,
    identity_of,
    is_damaged,
    mark_damaged,
    open_reader,
)
from streams.edge.store.table_layout import CLOCK_SKEW, CONFIRMED_AT, CONNECTORS_VERSION, SYNC_ALIVE_AT, TABLE
from streams.edge.store.version import VersionReader
from streams.log_events import log_event
from streams.wire.edge_verdict import unpack_edge_verdict

log = logging.getLogger(__name__)

_FIND = "SELECT value FROM verdict WHERE key = ?"
_NOTHING = Knowledge(None)
MAX_REMEMBERED: Final = 1000
"""Verdicts that are remembered until the next change of any, about 3 KB each."""


class VerdictReader:
    """Finds verdicts. Where the file is missing or unusable, it knows nothing, until `poll` finds another."""

    def __init__(self, folder: Path) -> None:
        """Read the file in a folder."""
        self._path = folder / VERDICTS_FILE
        self._connection: sqlite3.Connection | None = None
        self._identity: Identity | None = None
        self._version = VersionReader(folder / VERSION_FILE)
        self._remembered: dict[ServerKey, EdgeVerdict | None] = {}
        self._remembered_at: bytes | None = None
        self._knowledge = _NOTHING
        self._status: Mapping[str, int | None] = {}
        self._is_failing = False

    def open(self) -> None:
        """Open the file, where there is one."""
        self.poll()

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._identity = None
        self._version.close()
        self._forget()
        self._knowledge, self._status = _NOTHING, {}

    def poll(self) -> None:
        """Read again how current the verdicts are, from another file where there is another; to be called often."""
        self._forget()
        try:
            found = identity_of(self._path)
            if found != self._identity or found is None:
                self.close()
                if found is None:
                    return
                self._open(found)
            if (connection := self._connection) is not None:
                self._version.open()
                self._status = dict(connection.execute("SELECT name, value FROM status"))
                self._knowledge = Knowledge(self._status.get(CONFIRMED_AT), self._status.get(CLOCK_SKEW) or 0)
                self._is_failing = False
        except Exception as error:  # noqa: BLE001 - whatever it is, mail goes on
            self._fail(error)
            self.close()

    @property
    def knowledge(self) -> Knowledge:
        """How current the verdicts are."""
        return self._knowledge

    @property
    def sync_alive_at(self) -> int | None:
        """When sync last wrote (UTC milliseconds); None where it never did."""
        return self._status.get(SYNC_ALIVE_AT)

    @property
    def connectors_version(self) -> int:
        """Another number for other connectors; 0 where none were ever read, or they cannot be read now."""
        return self._status.get(CONNECTORS_VERSION) or 0

    def find(self, key: ServerKey) -> EdgeVerdict | None:
        """See `ports.Verdicts`."""
        connection = self._connection
        if connection is None:
            return None
        version = self._version.read()
        if version is None or version != self._remembered_at or len(self._remembered) >= MAX_REMEMBERED:
            self._forget()
        elif key in self._remembered:
            return self._remembered[key]
        # The number was read before the verdict: it may be older than what is remembered with it, and never newer.
        verdict = self._read(connection, key)
        self._remembered[key], self._remembered_at = verdict, version
        return verdict

    def _read(self, connection: sqlite3.Connection, key: ServerKey) -> EdgeVerdict | None:
        row = None
        try:
            row = connection.execute(_FIND, (key.topic_key(),)).fetchone()
            verdict = None if row is None else unpack_edge_verdict(row[0])
        except UnicodeEncodeError:
            return None  # no record has such a key
        except Exception as error:
            if not (isinstance(error, ValueError) and row == (b"",)):
                self._fail(error)
            raise UnreadableVerdictError(f"{type(error).__name__}: {error}") from error
        if verdict is not None and verdict.key != key:
            misplaced = ValueError("a verdict is stored under another's key")
            self._fail(misplaced)
            raise UnreadableVerdictError(str(misplaced))
        return verdict

    def _forget(self) -> None:
        self._remembered.clear()
        self._remembered_at = None

    def connectors(self) -> list[bytes]:
        """The connectors of the topic, each as JSON; none where they cannot be read."""
        if self._connection is None:
            return []
        try:
            return [row[0] for row in self._connection.execute("SELECT value FROM connector ORDER BY key")]
        except Exception as error:  # noqa: BLE001 - whatever it is, mail goes on
            self._fail(error)
            return []

    def _open(self, found: Identity) -> None:
        connection = open_reader(self._path)
        try:
            is_ours = format_of(connection) == TABLE.number
        except BaseException:
            connection.close()
            raise
        if not is_ours:  # sync has only begun to make it, or is about to replace it
            connection.close()
            return
        self._connection, self._identity = connection, found

    def _fail(self, error: Exception) -> None:
        """Have a damaged file replaced, and say what is wrong, once for each run of failures."""
        if is_damaged(error) or isinstance(error, ValueError):
            mark_damaged(self._path)
        if not self._is_failing:
            self._is_failing = True
            why = f"{type(error).__name__}: {error}"
            log.error("verdicts cannot be read, mail is accepted: %s", why, extra=log_event("verdicts_failed", why=why))
