"""Writes batches: rows and offsets in one transaction, so that a restart loses nothing and doubles nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, func, select

from streams.database.database import ALL_TENANTS, Database
from streams.database.positions import MovedError, move_position
from streams.database.upserts import Upsert, delete
from streams.kafka.places import Place
from streams.report.model.batch import Batch, Read, Unreadable
from streams.report.store.folding import Carried, FoldedServers, fold_servers, write_folded
from streams.report.store.pending import Ahead, PendingBatch
from streams.report.store.rows import (
    Row,
    audit_row,
    command_row,
    notification_row,
    stored_text,
    verdict_row,
)
from streams.report.store.tables import (
    AUDIT,
    COMMAND,
    CONSUMER_OFFSET,
    NOTIFICATION,
    TENANT_VERSION,
    UNREADABLE,
    VERDICT,
)
from streams.report.store.upkeep import note_changes

_VERDICTS: Final = Upsert(VERDICT, is_guarded=True)
_NOTIFICATIONS: Final = Upsert(NOTIFICATION, is_guarded=True)
_COMMANDS: Final = Upsert(COMMAND, is_guarded=True)
_AUDITS: Final = Upsert(AUDIT, is_guarded=True)
_OFFSETS: Final = Upsert(CONSUMER_OFFSET, keeps=True)
_UNREADABLE: Final = Upsert(UNREADABLE, keeps=True)
WHY_CHARS: Final = 500


class TopicReplacedError(RuntimeError):
    """A topic of this name was read before, and it was another one; the message says what to do."""


class Writer:
    """Writes batches into a database."""

    def __init__(self, database: Database, failpoint: Callable[[str], None], carried: Carried | None = None) -> None:
        """Write into a database.

        Args:
            database: where the tables are.
            failpoint: called with the name of each step.
            carried: what a carried history knows, while the topics are read up to it.
        """
        self._database, self._failpoint, self._carried = database, failpoint, carried

    def positions(self, sources: Mapping[str, str]) -> dict[Place, int]:
        """How far each partition was read; one that is left out was not read yet.

        Raises:
            TopicReplacedError: what was read under a topic's name was another topic.
            DBAPIError: the database does not answer.
        """
        with self._database.writing() as connection:
            return locked_positions(connection, sources)

    def fold_ahead(self, pending: PendingBatch, behind: PendingBatch) -> None:
        """Fold a batch while the one in front of it, which is folded, is written or was; whoever writes it looks.

        Raises:
            DBAPIError: the database does not answer.
        """
        batch, servers = pending.batch, behind.servers
        if servers is None or not batch.servers or self._carried is not None:
            return
        with self._database.reading(ALL_TENANTS) as connection:
            version, begins, ends = _version(connection), behind.batch.begins, behind.batch.ends
            read = {place: at for place, at in _positions(connection) if place in begins}
            if read == {place: begins[place] for place in read}:
                version += behind.changes
            elif read != ends:
                return
            folded = fold_servers(connection, batch.servers, behind=servers)
        pending.ahead = Ahead(folded, behind, servers, version)

    def write(self, batch: Batch, pending: PendingBatch | None = None) -> int:
        """Write what of a batch is not written yet; returns the number of its records.

        Args:
            batch: the batch.
            pending: the same with what is prepared of it, where another one may be folded behind it.

        Raises:
            MovedError: records in front of the batch were not written.
            TopicReplacedError: see `positions`.
            DBAPIError: the database does not answer, or cannot write.
        """
        # What is held back goes into the history's own only with the commit.
        carried = None if self._carried is None else replace(self._carried, held={})
        with self._database.writing() as connection:
            known = self._lock(connection, batch)
            written = self._rows(connection, batch, known, carried, pending)
            self._failpoint("written")
            for place, end in batch.ends.items():
                if end > known[place]:
                    source = batch.sources[place.topic]
                    move_position(connection, CONSUMER_OFFSET, place, source, known[place], end)
            self._failpoint("positioned")
        self._hold(carried)
        if pending is not None:
            pending.end()
        self._failpoint("committed")
        return written

    def _lock(self, connection: Connection, batch: Batch) -> dict[Place, int]:
        """The positions of a batch's partitions, which nobody else changes until the transaction ends."""
        _OFFSETS.write(
            connection,
            [(topic, batch.sources[topic], number, begin) for (topic, number), begin in sorted(batch.begins.items())],
        )
        known = locked_positions(connection, batch.sources)
        for place, begin in batch.begins.items():
            if known[place] < begin:
                raise MovedError(f"{place.topic}-{place.partition}: offset {known[place]} is next, and not {begin}")
        return known

    def _hold(self, changes: Carried | None) -> None:
        """Take over what a committed batch held back, and what it dropped."""
        if self._carried is None or changes is None:
            return
        for key, read in changes.held.items():
            if read is None:
                self._carried.held.pop(key, None)
            else:
                self._carried.held[key] = read

    def _rows(
        self,
        connection: Connection,
        batch: Batch,
        known: Mapping[Place, int],
        carried: Carried | None,
        pending: PendingBatch | None,
    ) -> int:
        def new(reads: Sequence[Read]) -> list[Read]:
            return [read for read in reads if read.offset >= known[read.place]]

        servers, verdicts = new(batch.servers), new(batch.verdicts)
        notifications, audits = new(batch.notifications), new(batch.audits)
        folded = _folded_ahead(connection, pending, known)
        if folded is None:
            folded = fold_servers(connection, servers, carried, batch.sources)
        changes = Counter(read.key.tenant_id for read in (*servers, *verdicts, *notifications, *audits))
        if pending is not None:
            pending.fold(folded, changes.total())
        if servers:
            write_folded(connection, folded)
        if verdicts:
            last = {read.key: read for read in verdicts}
            _VERDICTS.write(connection, [verdict_row(read) for read in last.values() if read.record is not None])
            delete(connection, VERDICT, [key for key, read in last.items() if read.record is None])
        _NOTIFICATIONS.write(connection, _last_of(map(notification_row, notifications)))
        _COMMANDS.write(connection, _last_of(filter(None, map(command_row, notifications))))
        _AUDITS.write(connection, _last_of(map(audit_row, audits)))
        name_unreadable(connection, (one for one in batch.unreadable if one.offset >= known[one.place]))
        note_changes(connection, changes)
        return len(servers) + len(verdicts) + len(notifications) + len(audits)


def _folded_ahead(
    connection: Connection, pending: PendingBatch | None, known: Mapping[Place, int]
) -> FoldedServers | None:
    """What was folded ahead of a batch, if the tables are now what it was folded behind."""
    if pending is None or pending.ahead is None:
        return None
    servers, behind, behind_servers, version = pending.ahead
    is_whole = all(known[place] == begin for place, begin in pending.batch.begins.items())
    is_next = behind.is_written and behind.servers is behind_servers
    return servers if is_whole and is_next and _version(connection) == version else None


def _version(connection: Connection) -> int:
    return int(connection.execute(select(func.sum(TENANT_VERSION.c.n))).scalar() or 0)


def _positions(connection: Connection) -> Iterator[tuple[Place, int]]:
    for row in connection.execute(select(CONSUMER_OFFSET)):
        yield Place(row.topic, row.partition), row.position


def name_unreadable(connection: Connection, passed_over: Iterable[Unreadable]) -> None:
    """Write which records were passed over, and why."""
    rows = ((*one.place, one.offset, one.written_at, stored_text(one.reason[:WHY_CHARS])) for one in passed_over)
    _UNREADABLE.write(connection, rows)


def locked_positions(connection: Connection, sources: Mapping[str, str]) -> dict[Place, int]:
    """How far each partition was read, which nobody else changes until the transaction ends.

    Raises:
        TopicReplacedError: what was read under a topic's name was another topic.
    """
    rows = connection.execute(select(CONSUMER_OFFSET).order_by("topic", "partition").with_for_update())
    positions = {}
    for row in rows:
        if row.topic not in sources:
            continue
        if row.topic_id != sources[row.topic]:
            raise TopicReplacedError(
                f"{row.topic} is another topic than the one that was read: it was deleted and made again. "
                "To read what is there now, and to keep the history by day: tes report rebuild"
            )
        positions[Place(row.topic, row.partition)] = row.position
    return positions


def _last_of(rows: Iterable[Row]) -> list[Any]:
    """The last row of each key, which is a tenant and one more."""
    return list({row[:2]: row for row in rows}.values())
