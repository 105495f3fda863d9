"""Writes a batch that the database refuses for what is in it, record by record: only the wrong ones are left out."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError, StatementError

from streams.database.database import DatabaseError, is_passing
from streams.database.positions import MovedError
from streams.errors import is_records_fault
from streams.report.model.batch import AUDIT, NOTIFICATIONS, SERVERS, VERDICTS, Batch, Read, Unreadable
from streams.report.store.pending import PendingBatch
from streams.report.store.writer import TopicReplacedError, Writer

_FIELDS = {SERVERS: "servers", VERDICTS: "verdicts", NOTIFICATIONS: "notifications", AUDIT: "audits"}


def is_batchs_fault(error: Exception) -> bool:
    """Whether writing the batch again would fail again: the database works, and something in the batch is wrong."""
    if isinstance(error, MovedError | TopicReplacedError | DatabaseError):
        return False
    if isinstance(error, SQLAlchemyError):
        return isinstance(error, StatementError) and not is_passing(error)
    return is_records_fault(error)


class Salvaged(NamedTuple):
    """How many records were written, and those that the database refuses."""

    written: int
    passed_over: list[Unreadable]


def write_or_salvage(writer: Writer, batch: Batch, pending: PendingBatch | None = None) -> Salvaged:
    """Write a batch; where the database refuses it for what is in it, write what of it can be written.

    `pending` is the same with what is prepared of it, where another one may be folded behind it.

    Raises:
        Exception: what `Writer.write` raises and no record is to blame for.
    """
    try:
        return Salvaged(writer.write(batch, pending), [])
    except Exception as error:
        if not is_batchs_fault(error):
            raise
    refused = salvage(writer, batch)
    records = sum(len(getattr(batch, field)) for field in _FIELDS.values())
    return Salvaged(records - len(refused), refused)


def salvage(writer: Writer, batch: Batch) -> list[Unreadable]:
    """Write every record of a batch that can be written; returns the others, which are named in the database.

    Raises:
        Exception: what `Writer.write` raises and no record is to blame for.
    """
    refused: list[Unreadable] = []
    at = dict(batch.begins)
    # Their places are in front of every position that is written below.
    writer.write(Batch(batch.sources, at, dict(at), unreadable=batch.unreadable))
    for field in _FIELDS.values():
        for read in sorted(getattr(batch, field), key=_place_of):
            begins, ends = {read.place: at[read.place]}, {read.place: read.offset + 1}
            one = Batch(batch.sources, begins, ends)
            setattr(one, field, [read])
            try:
                writer.write(one)
            except Exception as error:
                if not is_batchs_fault(error):
                    raise
                wrong = refused_for(read, error)
                writer.write(Batch(batch.sources, begins, ends, unreadable=[wrong]))
                refused.append(wrong)
            at[read.place] = read.offset + 1
    writer.write(Batch(batch.sources, at, dict(batch.ends)))
    return refused


def refused_for(read: Read, error: Exception) -> Unreadable:
    """A record that the database refuses, with its reason."""
    why = getattr(error, "orig", None) or error
    reason = " ".join(f"{type(why).__name__}: {why}".split())
    return Unreadable(read.place, read.offset, read.written_at, reason)


def _place_of(read: Read) -> tuple[object, int]:
    return read.place, read.offset
