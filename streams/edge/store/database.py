"""Opens the shared files, and sets aside what cannot be read.

Who reads a damaged file leaves a mark next to it, and who writes it replaces it then. So only one process ever moves a
file, and the other notices that another one is there.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from streams.log_events import log_event

log = logging.getLogger(__name__)

VERDICTS_FILE: Final = "verdicts.db"
SPOOL_FILE: Final = "spool.db"
JOURNAL_FILE: Final = "spool.journal"
VERSION_FILE: Final = "verdicts.version"
BUSY_SECONDS: Final = 0.25
"""How long the door waits for a transaction of sync."""
IMPATIENT_SECONDS: Final = 0.002
"""How long it waits for the next ones of a sync that hangs in a transaction: mail queues behind each wait."""
PATIENT_SECONDS: Final = 5.0
"""How long sync waits for one of the door: what it would do again costs more."""
WAL_PAGES: Final = 8000
"""The log is written back by whoever finds it so long: 32 MiB. Sync does it earlier, as that takes an fsync."""
_DAMAGED: Final = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
_PRIMARY: Final = 0xFF
"""The bits of a code that say what kind of error it is; the others say more."""
_SIDE_FILES: Final = ("-wal", "-shm")


class Identity(NamedTuple):
    """Which file a path leads to."""

    device: int
    inode: int


class Layout(NamedTuple):
    """The tables of a file, as SQL that makes them, and the number of their format."""

    tables: str
    number: int


def identity_of(path: Path) -> Identity | None:
    """Which file is there; None for none, or none that can be seen."""
    try:
        found = os.stat(path)  # noqa: PTH116 - half as long as Path.stat, and asked for each message
    except OSError:
        return None
    return Identity(found.st_dev, found.st_ino)


def is_damaged(error: Exception) -> bool:
    """Whether the file itself is at fault, and stays so."""
    code = _code_of(error)
    # A short read: the log is shorter than those who have it open say, or gone.
    return code == sqlite3.SQLITE_IOERR_SHORT_READ or code & _PRIMARY in _DAMAGED


def is_locked(error: Exception) -> bool:
    """Whether the other process is in a transaction, and does not come out of it."""
    return _code_of(error) & _PRIMARY == sqlite3.SQLITE_BUSY


def is_read_only(error: Exception) -> bool:
    """Whether the file could only be opened to be read; SQLite keeps to that, though it may be writable since."""
    return _code_of(error) & _PRIMARY == sqlite3.SQLITE_READONLY


def is_full(error: Exception) -> bool:
    """Whether the disk has no more room."""
    return _code_of(error) & _PRIMARY == sqlite3.SQLITE_FULL


def _code_of(error: Exception) -> int:
    """SQLite's extended code; 0 for an error that is not SQLite's."""
    return getattr(error, "sqlite_errorcode", 0) if isinstance(error, sqlite3.Error) else 0


def mark_of(path: Path) -> Path:
    """The file whose presence says that the one at `path` is damaged."""
    return path.with_name(f"{path.name}.damaged")


def mark_damaged(path: Path) -> None:
    """Ask who writes a file to replace it."""
    with suppress(OSError):
        mark_of(path).touch()


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a file that another process writes.

    Raises:
        sqlite3.Error: it is not there, or cannot be read.
    """
    return _connect(f"file:{quote(str(path))}?mode=ro")


def open_shared(path: Path) -> sqlite3.Connection:
    """Open a file that the other process makes, to change it.

    Raises:
        sqlite3.Error: it is not there, or cannot be opened.
    """
    connection = _connect(f"file:{quote(str(path))}?mode=rw", PATIENT_SECONDS)
    try:
        connection.execute("PRAGMA synchronous=NORMAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def open_own(path: Path, layout: Layout) -> sqlite3.Connection:
    """Open a file to write it. A missing one is made; one that is damaged or of another format is replaced.

    Raises:
        sqlite3.Error: it can be neither read nor made.
        OSError: its folder cannot be made, or a damaged file cannot be moved.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if mark_of(path).exists() or _is_only_log(path):
        set_aside(path)
    try:
        return _prepared(path, layout)
    except sqlite3.Error as error:
        if not is_damaged(error):
            raise
        set_aside(path)
        return _prepared(path, layout)


def set_aside(path: Path) -> None:
    """Rename a damaged file, with its log, so that a new one can be made; of earlier ones none is kept.

    Raises:
        OSError: it cannot be moved.
    """
    mark_damaged(path)  # so that whoever comes behind a crash in here goes on
    for old in path.parent.glob(f"{path.name}.damaged-*"):
        old.unlink(missing_ok=True)
    kept = f"{path}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    # The log first: a new file must never meet the log of an old one.
    for name in (*_SIDE_FILES, ""):
        with suppress(FileNotFoundError):
            os.replace(f"{path}{name}", f"{kept}{name}")  # noqa: PTH105 - names, not paths
    mark_of(path).unlink(missing_ok=True)
    log.error(
        "%s cannot be read: kept as %s, and replaced by an empty one",
        path,
        kept,
        extra=log_event("file_set_aside", file=kept),
    )


def _is_only_log(path: Path) -> bool:
    """Whether a file is gone, and what SQLite kept beside it is not; the other process may have it open still."""
    return identity_of(path) is None and any(os.path.lexists(f"{path}{name}") for name in _SIDE_FILES)


def wait_for_lock(connection: sqlite3.Connection, seconds: float) -> None:
    """Wait so long from now on for another process's transaction."""
    connection.execute(f"PRAGMA busy_timeout={round(seconds * 1000)}")


def format_of(connection: sqlite3.Connection) -> int:
    """The number of the file's format; 0 for a file that is still empty.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def roll_back(connection: sqlite3.Connection) -> None:
    """Leave a transaction that failed."""
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _prepared(path: Path, layout: Layout) -> sqlite3.Connection:
    connection = _connect(f"file:{quote(str(path))}?mode=rwc")
    try:
        number = format_of(connection)
        if number not in (0, layout.number):
            raise damage(f"{path}: format {number} is none that this version reads")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit={WAL_PAGES << 12}")
        if number == 0:
            connection.executescript(f"BEGIN IMMEDIATE; {layout.tables} PRAGMA user_version={layout.number}; COMMIT")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def damage(why: str) -> sqlite3.Error:
    """The error for a file that SQLite can read and this product cannot."""
    error = sqlite3.DatabaseError(why)
    error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
    return error


def _connect(uri: str, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    return sqlite3.connect(uri, busy_seconds, isolation_level=None, uri=True, check_same_thread=False)
