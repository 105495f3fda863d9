"""Errors that say whose fault they are: a record's, or that of something that every record depends on."""

from __future__ import annotations


class DependencyError(RuntimeError):
    """Something that processing depends on failed; this says nothing about the record at hand.

    The worker stops, and the record is processed by the next one. It never becomes a dead letter.
    """


def is_records_fault(error: Exception) -> bool:
    """Whether an error while processing a record makes it a dead letter; all others stop the worker.

    A system call that failed or memory that ran out would fail for every record, so good ones would be dead-lettered.
    """
    return not isinstance(error, DependencyError | OSError | MemoryError)
