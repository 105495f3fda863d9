"""A set of tables in SQLite files: one in force, which the file `current` names.

A set is a file of its own, and never gets another's name: a write-ahead log beside it would be taken for its own.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from streams.database.database import ALL_TENANTS, READING, DatabaseError, Lease, is_all_tenants
from streams.database.migrating import migrate_on
from streams.database.sets import TableSet
from streams.state.private_files import make_private_folder

POINTER: Final = "current"
_BUSY_SECONDS: Final = 5.0
_READERS: Final = 8
_WRITER_CACHE_KIB: Final = 64 << 10
_READER_CACHE_KIB: Final = 16 << 10
"""Each connection fills a cache of its own, and never gives it back."""
_MIGRATION_LOCK: Final = "migration.lock"


class SqliteDatabase:
    """See `Database`."""

    kind = "sqlite"

    def __init__(self, folder: Path, tables: TableSet, file: Path | None = None) -> None:
        """Open what is in force in a folder, or one file of it."""
        self._folder, self._tables, self._fixed = folder, tables, file
        self._name = re.compile(re.escape(tables.name) + r"-(\d+)\.db")
        self._opened: tuple[Path, Engine, Engine] | None = None

    @property
    def file(self) -> Path:
        """The file of this set."""
        if self._fixed is not None:
            return self._fixed
        with suppress(FileNotFoundError):
            name = (self._folder / POINTER).read_text(encoding="ascii").strip()
            if not self._name.fullmatch(name):
                raise DatabaseError(
                    f"{self._folder / POINTER}: {name!r}: must name a file such as {self._tables.name}-1.db"
                )
            return self._folder / name
        return self._folder / f"{self._tables.name}-1.db"

    def migrate(self) -> None:
        """See `Database`."""
        make_private_folder(self._folder)
        with _locked(self._folder / _MIGRATION_LOCK):
            file = self.file
            with self.writing() as connection:
                migrate_on(connection, self._tables)
            if self._fixed is None:
                self._point_to(file)

    @contextmanager
    def reading(self, tenant: str) -> Iterator[Connection]:
        """See `Database`; SQLite has no fence of its own."""
        is_all_tenants(tenant)
        _, reader, _ = self._engines()
        with reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, tenant: str = ALL_TENANTS) -> Iterator[Connection]:
        """See `Database`; SQLite has no fence of its own."""
        is_all_tenants(tenant)
        _, _, writer = self._engines()
        with writer.begin() as connection:
            yield connection

    def lease(self, what: str = READING) -> Lease:
        """See `Database`."""
        return FileLease(self._folder / f"{what}.lock")

    def fresh(self) -> Self:
        """See `Database`."""
        match = self._name.fullmatch(self.file.name)
        number = int(match[1]) + 1 if match else 1
        file = self._folder / f"{self._tables.name}-{number}.db"
        _delete(file)
        made = type(self)(self._folder, self._tables, file)
        made.migrate()
        return made

    def replace(self, fresh: Self) -> None:
        """See `Database`; whoever has the old file open keeps it until its next transaction."""
        before = self.file
        fresh.close()
        self._point_to(fresh.file)
        self.close()
        _delete(before)

    def size_bytes(self) -> int:
        """See `Database`."""
        file, size = self.file, 0
        for path in (file, *_beside(file)):
            with suppress(OSError):
                size += path.stat().st_size
        return size

    def free_bytes(self) -> int | None:
        """See `Database`."""
        with suppress(OSError):
            found = os.statvfs(self._folder)
            return found.f_bavail * found.f_frsize
        return None

    def close(self) -> None:
        """See `Database`."""
        opened, self._opened = self._opened, None
        if opened is not None:
            for engine in opened[1:]:
                engine.dispose()

    def _engines(self) -> tuple[Path, Engine, Engine]:
        file, opened = self.file, self._opened
        if opened is None or opened[0] != file:
            # What is under way on the old file ends there.
            self.close()
            safe = "NORMAL" if self._tables.is_rebuilt else "FULL"
            opened = file, _engine(file, "BEGIN", _READERS, safe), _engine(file, "BEGIN IMMEDIATE", 1, safe)
            self._opened = opened
        return opened

    def _point_to(self, file: Path) -> None:
        temporary = self._folder / f"{POINTER}.new"
        with temporary.open("w", encoding="ascii") as pointer:
            pointer.write(file.name + "\n")
            pointer.flush()
            os.fsync(pointer.fileno())
        temporary.replace(self._folder / POINTER)


class FileLease:
    """See `Lease`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def take(self) -> bool:
        """See `Lease`."""
        if self._handle is None:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                return False
            self._handle = handle
        return True

    def give_back(self) -> None:
        """See `Lease`."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _engine(file: Path, begin: str, connections: int, synchronous: str) -> Engine:
    engine = create_engine(
        f"sqlite:///{file}",
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        # In turn, all of them would read the same pages into their caches.
        pool_use_lifo=True,
    )
    cache_kib = _READER_CACHE_KIB if begin == "BEGIN" else _WRITER_CACHE_KIB

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        # Its driver would begin no transaction for a SELECT, so that two would see two states.
        connection.isolation_level = None
        for pragma in (
            "journal_mode = WAL",
            # What a loss of power takes of tables that are read anew, it takes with the offsets: it is read again.
            f"synchronous = {synchronous}",
            f"cache_size = -{cache_kib}",
            "temp_store = MEMORY",
            f"query_only = {'ON' if begin == 'BEGIN' else 'OFF'}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _beside(file: Path) -> tuple[Path, Path]:
    return file.with_name(file.name + "-wal"), file.with_name(file.name + "-shm")


def _delete(file: Path) -> None:
    for path in (file, *_beside(file)):
        path.unlink(missing_ok=True)
