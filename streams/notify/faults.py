"""Whose fault it is that something cannot be written into the ledger."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError, StatementError

from streams.database.database import DatabaseError, is_passing
from streams.database.positions import MovedError
from streams.errors import is_records_fault


def is_contents_fault(error: Exception) -> bool:
    """Whether writing again would fail again: the database works, and something in what is written is wrong."""
    if isinstance(error, MovedError | DatabaseError):
        return False
    if isinstance(error, SQLAlchemyError):
        return isinstance(error, StatementError) and not is_passing(error)
    return is_records_fault(error)
