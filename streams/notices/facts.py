"""What holds for the whole ledger: when it began, and the key of the links that it gives out."""

from __future__ import annotations

import secrets
from typing import Final

from sqlalchemy import Connection, select

from streams.database.database import Database
from streams.database.upserts import Upsert
from streams.notices.tables import FACT

_KEEP: Final = Upsert(FACT, keeps=True)
_BEGAN_AT: Final = "began_at"
_LINK_KEY: Final = "link_key"


def fact(connection: Connection, name: str) -> str | None:
    """What holds for the whole ledger; None where it was not written yet."""
    return connection.execute(select(FACT.c.value).where(FACT.c.name == name)).scalar()


def began_at(connection: Connection) -> int:
    """When the ledger began, UTC milliseconds; see `begin`."""
    return int(fact(connection, _BEGAN_AT) or 0)


def link_key(connection: Connection) -> bytes:
    """The key of links; see `begin`."""
    return bytes.fromhex(fact(connection, _LINK_KEY) or "")


def begin(database: Database, now: int) -> None:
    """Note when the ledger began, and make the key of its links, unless it was done before.

    Nothing that was written earlier is told to whom did not ask for it: a first start sends no history.
    """
    with database.writing() as connection:
        _KEEP.write(connection, [(_BEGAN_AT, str(now)), (_LINK_KEY, secrets.token_hex(32))])
